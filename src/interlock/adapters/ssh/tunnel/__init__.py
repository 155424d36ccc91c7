"""Reverse tunnels: nodes that dial out to the proxy (ADR-0009)."""
