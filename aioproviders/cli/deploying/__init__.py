"""The commands for deployments: ``deploy scale rollback status history logs up``.

opening     finds the deployment that is meant, and puts in what the command line overrides
overrides   reads ``--set key=value``
signals     Ctrl-C and SIGTERM, while something has to be ended orderly
changing    ``deploy``, ``scale``, ``rollback``
progress    shows a rollout while it goes on
report      draws results, diagnoses, changes, states and histories
looking     ``status``, ``history``, ``logs``
running     ``up``
"""
