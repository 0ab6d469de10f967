"""The Kubernetes driver: workloads of a cluster, by server-side apply.

provider      KubernetesDeploymentProvider
config        what it is configured with
deploying     one deploy: ask, apply, keep, wait, and back if that fails
rolling       one wait, with its diagnosis
scene         a workload with its pods as they are now (watching: how that is kept so)
waiting       whether a rollout is over; pods: whether it is doomed
diagnosis     why
rollback, scaling, status, history, output, tracking, health   the other operations
workloads     revisions, of Deployments, StatefulSets and DaemonSets
plan          from a config to objects (containers, manifests, yaml_documents)
apply         the objects to the cluster; differences: what that would change
intent        releases, stored in the cluster; prune: what they leave behind
preflight     whether all of it is allowed
api           requests (resources, objects, errors, side_by_side)
connection    to a cluster (kubeconfig, credentials)
"""

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.provider import KubernetesDeploymentProvider

__all__ = ["KubernetesDeploymentConfig", "KubernetesDeploymentProvider"]
