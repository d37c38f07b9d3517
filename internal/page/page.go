// Package page holds the page that a node shows of its cluster: one document
// without anything from elsewhere.
package page

import (
	"crypto/sha256"
	_ "embed" // for the parts of the page
	"encoding/base64"
	"strings"
)

var (
	//go:embed page.html
	html string
	//go:embed page.css
	css string
	//go:embed page.js
	js string
)

// Render returns the document, and the Content-Security-Policy that lets it run
// nothing but its own script.
func Render() (document []byte, policy string) {
	document = []byte(strings.NewReplacer("/*page.css*/", css, "/*page.js*/", js).Replace(html))
	policy = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'" +
		"; style-src " + hash(css) + "; script-src " + hash(js)
	return document, policy
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
