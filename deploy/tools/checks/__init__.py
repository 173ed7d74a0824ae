"""What is checked of deploy/ and k8s/ beyond what linters know: see check.py."""
