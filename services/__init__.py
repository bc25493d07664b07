"""AlpaServe: many models on one shared cluster, within their SLOs."""

import os

# gRPC would start its threads anew in every process that a service forks, Ray's included, and sometimes they crash
# there before the process is what it should be. Read when grpc is first imported, which is after this.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
