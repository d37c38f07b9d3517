// Package check reads the alert rules and the questions of the dashboard as
// Prometheus does. It is a module of its own for the sake of its parser. That the
// metrics exist is checked by the tests of package metrics.
package check
