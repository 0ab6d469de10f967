"""Deployment to processes of this machine."""
