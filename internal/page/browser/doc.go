// Package browser tests the page of Cache.Handler in a headless Chromium. It
// is a module of its own, so that nobody else depends on what drives one.
package browser
