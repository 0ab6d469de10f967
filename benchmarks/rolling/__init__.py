"""The parts of the rollout benchmark."""
