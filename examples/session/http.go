package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/slotmesh/slotmesh"
)

const (
	cookieName = "session"
	maxForm    = 64 << 10 // bytes of a request's body
	maxItem    = 200      // bytes of an item's or a user's name
)

// newHandler serves
//
//	POST /login   user=NAME           starts a session
//	GET  /me                          who is logged in
//	GET  /cart                        what is in the cart
//	POST /cart    item=NAME&count=N   adds to it; count may be negative, default 1
//	POST /logout                      ends the session
//	GET  /ready                       200 once calls can be answered
//	GET  /cluster                     nodes and slots as this replica sees them
func newHandler(s *sessions, cache *slotmesh.Cache) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user := r.PostFormValue("user")
		if user == "" || len(user) > maxItem {
			http.Error(w, "user=NAME is needed", http.StatusBadRequest)
			return
		}
		id, err := s.login(r.Context(), user)
		if err == nil {
			http.SetCookie(w, sessionCookie(id))
		}
		answer(w, map[string]string{"user": user}, err)
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		user, err := s.user(r.Context(), sessionID(r))
		answer(w, map[string]string{"user": user}, err)
	})
	mux.HandleFunc("GET /cart", s.loggedIn(func(w http.ResponseWriter, r *http.Request, id string) {
		cart, err := s.cart(r.Context(), id)
		answer(w, cart, err)
	}))
	mux.HandleFunc("POST /cart", s.loggedIn(func(w http.ResponseWriter, r *http.Request, id string) {
		item, n := r.PostFormValue("item"), 1
		if text := r.PostFormValue("count"); text != "" {
			var err error
			if n, err = strconv.Atoi(text); err != nil {
				http.Error(w, "count must be a number", http.StatusBadRequest)
				return
			}
		}
		if item == "" || len(item) > maxItem {
			http.Error(w, "item=NAME is needed", http.StatusBadRequest)
			return
		}
		cart, err := s.add(r.Context(), id, item, n)
		answer(w, cart, err)
	}))
	mux.HandleFunc("POST /logout", s.loggedIn(func(w http.ResponseWriter, r *http.Request, id string) {
		err := s.logout(r.Context(), id)
		answer(w, map[string]bool{"loggedOut": err == nil}, err)
	}))
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		err := cache.Ready(ctx)
		answer(w, map[string]bool{"ready": err == nil}, err)
	})
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, r *http.Request) {
		answer(w, clusterView(cache.Cluster()), nil)
	})
	return http.MaxBytesHandler(mux, maxForm)
}

// loggedIn answers 401 to requests without a live session.
func (s *sessions) loggedIn(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := sessionID(r)
		if _, err := s.user(r.Context(), id); err != nil {
			answer(w, nil, err)
			return
		}
		next(w, r, id)
	}
}

func sessionID(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return cookie.Value
}

func sessionCookie(id string) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: id, Path: "/", MaxAge: int(idle / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, // and Secure, behind TLS
	}
}

func clusterView(c slotmesh.Cluster) any {
	type row struct {
		Name  string `json:"name"`
		Addr  string `json:"addr"`
		State string `json:"state"`
		Slots int    `json:"slots"` // that it serves
	}
	primaries := map[string]int{}
	for slot := range c.Slots() {
		primaries[slot.Primary]++
	}
	var rows []row
	for _, n := range c.Nodes() {
		rows = append(rows, row{n.Name, n.Addr, n.State, primaries[n.Name]})
	}
	return rows
}

func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, errNoSession):
		http.Error(w, err.Error(), http.StatusUnauthorized)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
}
