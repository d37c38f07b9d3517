package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// shop is the service with as many replicas as there are servers, and a browser
// that keeps its cookie whichever of them it talks to.
type shop struct {
	t       *testing.T
	servers []*httptest.Server
	browser *http.Client
	session http.CookieJar
}

func newShop(t *testing.T, replicas int) *shop {
	s := &shop{t: t}
	for _, cache := range slotmeshtest.Start(t, replicas) {
		server := httptest.NewServer(newHandler(newSessions(cache), cache))
		t.Cleanup(server.Close)
		s.servers = append(s.servers, server)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.session, s.browser = jar, &http.Client{Jar: jar} // cookies ignore ports
	return s
}

// want makes a request at a replica, a POST if there is a form.
func (s *shop) want(replica int, path, form string, status int, body string) {
	s.t.Helper()
	var resp *http.Response
	var err error
	if form == "" {
		resp, err = s.browser.Get(s.servers[replica].URL + path)
	} else {
		resp, err = s.browser.Post(s.servers[replica].URL+path, "application/x-www-form-urlencoded", strings.NewReader(form))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || strings.TrimSpace(string(got)) != body {
		s.t.Errorf("%s %q at replica %d = %d %q, want %d %q", path, form, replica, resp.StatusCode, got, status, body)
	}
}

func TestSessionIsKnownToEveryReplica(t *testing.T) {
	s := newShop(t, 2)
	none := errNoSession.Error()
	s.want(0, "/me", "", http.StatusUnauthorized, none)
	s.want(0, "/login", "user=ann", http.StatusOK, `{"user":"ann"}`)
	s.want(1, "/me", "", http.StatusOK, `{"user":"ann"}`)
	s.want(1, "/cart", "", http.StatusOK, `{}`)
	s.want(1, "/cart", "item=apple&count=3", http.StatusOK, `{"apple":3}`)
	s.want(0, "/cart", "item=pear", http.StatusOK, `{"apple":3,"pear":1}`)
	s.want(1, "/cart", "item=apple&count=-3", http.StatusOK, `{"pear":1}`)
	s.want(0, "/cart", "", http.StatusOK, `{"pear":1}`)
	s.want(0, "/cart", "item=pear&count=-1", http.StatusOK, `{}`)
	s.want(1, "/cart", "", http.StatusOK, `{}`)
	s.want(0, "/logout", "yes", http.StatusOK, `{"loggedOut":true}`)
	s.want(1, "/cart", "", http.StatusUnauthorized, none)
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := newShop(t, 1)
	s.want(0, "/login", "user=", http.StatusBadRequest, "user=NAME is needed")
	s.want(0, "/login", "user="+strings.Repeat("x", maxItem+1), http.StatusBadRequest, "user=NAME is needed")
	s.want(0, "/login", "user=ann", http.StatusOK, `{"user":"ann"}`)
	s.want(0, "/cart", "item=", http.StatusBadRequest, "item=NAME is needed")
	s.want(0, "/cart", "item=a&count=many", http.StatusBadRequest, "count must be a number")
	u, err := url.Parse(s.servers[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	s.session.SetCookies(u, []*http.Cookie{sessionCookie("made-up")})
	s.want(0, "/me", "", http.StatusUnauthorized, errNoSession.Error())
}

func TestCartCountsRequestsAtOnce(t *testing.T) {
	caches := slotmeshtest.Start(t, 2)
	ctx := t.Context()
	id, err := newSessions(caches[0]).login(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	const each = 10
	want := map[string]int{}
	var wg sync.WaitGroup
	for i := range 6 {
		item := fmt.Sprint("item", i%3)
		want[item] += each
		wg.Go(func() {
			for range each {
				if _, err := newSessions(caches[i%2]).add(ctx, id, item, 1); err != nil {
					t.Errorf("add = %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := newSessions(caches[1]).cart(ctx, id); err != nil || !maps.Equal(got, want) {
		t.Errorf("cart = %v, %v, want %v", got, err, want)
	}
}

func TestNothingIsBoughtAfterLogout(t *testing.T) {
	caches := slotmeshtest.Start(t, 2)
	ctx := t.Context()
	here, there := newSessions(caches[0]), newSessions(caches[1])
	id, err := here.login(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.add(ctx, id, "apple", 1); err != nil {
		t.Fatal(err)
	}
	if err := there.logout(ctx, id); err != nil {
		t.Fatal(err)
	}
	if got, err := here.add(ctx, id, "apple", 1); !errors.Is(err, errNoSession) {
		t.Errorf("add after logout = %v, %v, want errNoSession", got, err)
	}
	if got, err := here.cart(ctx, id); err != nil || len(got) != 0 {
		t.Errorf("cart after logout = %v, %v, want an empty one", got, err)
	}
}
