"""The Helm chart, generated from the manifests that kustomize renders from k8s/."""
