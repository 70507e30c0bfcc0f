"""A detector behind a door: an HTTP server for programs, a page for people."""
