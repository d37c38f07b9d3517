// Package check tests what is in deploy: that every manifest decodes strictly,
// that its parts refer to each other rightly, and that what it sets is there to
// be set. It has no code of its own.
package check
