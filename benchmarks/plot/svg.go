package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
)

const (
	columns     = 2
	panelWidth  = 460
	panelHeight = 230
	chartHeight = 140
	margin      = 30
	headHeight  = 70
)

// colours of the systems, in the order in which they come.
var colours = []string{"#1f6f8b", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#4a4a4a", "#a0a0a0"}

// svg draws panels under a title and a legend.
func svg(title string, panels []panel) []byte {
	var systems []string
	for _, p := range panels {
		for _, g := range p.groups {
			for _, b := range g.bars {
				if !slices.Contains(systems, b.system) {
					systems = append(systems, b.system)
				}
			}
		}
	}
	rows := (len(panels) + columns - 1) / columns
	var out bytes.Buffer
	width, height := columns*panelWidth, headHeight+rows*panelHeight
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text(&out, margin, 24, "start", 16, title)
	x := margin
	for _, s := range systems {
		fmt.Fprintf(&out, `<rect x="%d" y="38" width="11" height="11" fill="%s"/>`+"\n", x, colour(systems, s))
		text(&out, x+16, 48, "start", 11, s)
		x += 34 + 7*len(s)
	}
	for i, p := range panels {
		drawPanel(&out, i%columns*panelWidth, headHeight+i/columns*panelHeight, p, systems)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func drawPanel(out *bytes.Buffer, x0, y0 int, p panel, systems []string) {
	most, bars := 0.0, 0
	for _, g := range p.groups {
		for _, b := range g.bars {
			most, bars = max(most, b.value), bars+1
		}
	}
	text(out, x0+margin, y0+14, "start", 13, p.title)
	base := y0 + 40 + chartHeight
	fmt.Fprintf(out, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#888"/>`+"\n", x0+margin, base, x0+panelWidth-10, base)
	// A group is as wide as its bars and a gap.
	unit := float64(panelWidth-margin-10) / float64(bars+len(p.groups))
	x := float64(x0 + margin)
	for _, g := range p.groups {
		x += unit / 2
		middle := x + unit*float64(len(g.bars))/2
		for _, b := range g.bars {
			h := 0.0
			if most > 0 {
				h = b.value / most * chartHeight
			}
			fmt.Fprintf(out, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s %s: %s</title></rect>`+"\n",
				x+1, float64(base)-h, unit-2, h, colour(systems, b.system), html.EscapeString(b.system), g.label, number(b.value))
			fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="9">%s</text>`+"\n", x+unit/2, float64(base)-h-3, number(b.value))
			x += unit
		}
		text(out, int(middle), base+15, "middle", 11, g.label)
		x += unit / 2
	}
}

func text(out *bytes.Buffer, x, y int, anchor string, size int, s string) {
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

func colour(systems []string, s string) string {
	return colours[slices.Index(systems, s)%len(colours)]
}

// number is short: 12.3k rather than 12345.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 10_000:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 1000:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.1f", v)
	}
}
