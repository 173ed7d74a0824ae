"""Checks of deploy/ and k8s/ that no linter makes: see check.py."""
