// Package ext is where Traefik Labs' own builds add fields to Traefik's configuration. The open build adds none; its package
// is no part of the published module.
package ext

// HTTP has no fields.
type HTTP struct{}

// Router has no fields.
type Router struct{}
