"""A cluster as the driver's lower half sees it, for tests on a real one."""

from contextlib import asynccontextmanager

from scripted_api import config

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.plan import make_plan


class Cluster:
    """One namespace of a cluster, and an API to it."""

    def __init__(self, api, namespace):
        self.api = api
        self.namespace = namespace

    async def plan(self, **fields):
        """Return the plan of a config in the namespace."""
        given = {"namespace": self.namespace, "image": "web:{version}", **fields}
        return await make_plan(config(**given), self.api.resource)

    @asynccontextmanager
    async def counted(self):
        """Count the requests made inside; yields a list that has their number in the end."""
        before, count = self.api.requests, []
        yield count
        count.append(self.api.requests - before)


@asynccontextmanager
async def cluster(kubeconfig, namespace, run=None):
    """Connect to a cluster."""
    connection = await connect(config(kubeconfig_path=kubeconfig))
    try:
        yield Cluster(Api(connection, run), namespace)
    finally:
        await connection.close()
