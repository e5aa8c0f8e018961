"""Untrusted bytes -> pictures: where they may come from, how large they may be, how they become RGB."""
