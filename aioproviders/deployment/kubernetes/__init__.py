"""Deployment to Kubernetes."""
