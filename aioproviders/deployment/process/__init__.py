"""The process driver: deployments of processes of this machine.

provider      ProcessDeploymentProvider
config        what it is configured with
supervisor    holds a deployment's lock and journal, and rolls releases out
remote        asking the supervisor that another process is
rollout       one rollout: from the change to all instances available, or undone
controller    brings what runs to what should run, step by step
member        one place: a process, started anew whenever it ends
diagnosis     why a release does not come up
journal       what has been done, on disk
templates     what makes a release, and how two differ
logs          what instances have written
environment   what one process is started with
replica       one process, from its start to its end
launching     starting it (launcher: the script that becomes the program)
sockets       what it listens on
probes        asking it whether it is well
notification  hearing it say so
output        taking what it writes
guardian      ending what has lost its supervisor (guardian_script)
"""

from aioproviders.deployment.process.config import ProcessDeploymentConfig, ProcessLimits
from aioproviders.deployment.process.provider import ProcessDeploymentProvider

__all__ = ["ProcessDeploymentConfig", "ProcessDeploymentProvider", "ProcessLimits"]
