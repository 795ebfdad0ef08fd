"""boto3 clients: one session, one configuration, one set of clients for each region in use.

Made once by the composition root and handed to the passes. Creating a client is slow (a quarter of a second for EC2) and not
thread-safe, so it happens under a lock and on first use; calls run in the worker threads at the same time.
"""

import gc
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

import buildcache

from .breaker import Breaker
from .credentials import OwnCredentials, make_session
from .errors import refuse_html
from .pace import Pace

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_ecr import ECRClient
    from types_boto3_ecs import ECSClient
    from types_boto3_efs import EFSClient
    from types_boto3_logs import CloudWatchLogsClient

REGION_LIMIT = 20
"""Regions whose clients are kept, about 3 MB each beside the first; the one unused for longest goes."""


class Clients:
    """The AWS clients of one region, each made when it is first asked for."""

    def __init__(self, session: boto3.Session, region: str, config: Config, lock: threading.Lock) -> None:
        self.region = region
        self._session = session
        self._config = config
        self._lock = lock
        # Of an account and region, shared with everything else in it: 20 at once, then one a second.
        self.definitions = Pace(20, 1, "ECS takes one change of task definitions a second")
        self._ec2: EC2Client | None = None
        self._ecr: ECRClient | None = None
        self._ecs: ECSClient | None = None
        self._efs: EFSClient | None = None
        self._logs: CloudWatchLogsClient | None = None

    @property
    def ec2(self) -> "EC2Client":
        """Security groups, subnets, network interfaces."""
        with self._lock:
            if self._ec2 is None:
                self._ec2 = self._make("ec2")
            return self._ec2

    @property
    def ecr(self) -> "ECRClient":
        """Repositories."""
        with self._lock:
            if self._ecr is None:
                self._ecr = self._make("ecr")
            return self._ecr

    @property
    def ecs(self) -> "ECSClient":
        """Clusters, task definitions, tasks."""
        with self._lock:
            if self._ecs is None:
                self._ecs = self._make("ecs")
            return self._ecs

    @property
    def efs(self) -> "EFSClient":
        """File systems and mount targets."""
        with self._lock:
            if self._efs is None:
                self._efs = self._make("efs")
            return self._efs

    @property
    def logs(self) -> "CloudWatchLogsClient":
        """Log groups and log events."""
        with self._lock:
            if self._logs is None:
                self._logs = self._make("logs")
            return self._logs

    def _make(self, service: str) -> Any:
        client_of: Any = self._session.client  # its types know services by literal name only
        made = client_of(service, region_name=self.region, config=self._config)
        Breaker().attach(made)
        made.meta.events.register("before-parse", refuse_html)
        # What is there now stays: programs, and models of services, some 170,000 objects. The garbage collector looks at old ones when
        # their number has grown by a quarter: with these counted, as many others would pile up, and each look would go through all.
        gc.collect()
        gc.freeze()
        return made


class Session:
    """All clients of the operator. `pool` is the number of threads that call AWS at once."""

    def __init__(self, pool: int) -> None:
        self._config = Config(
            # Two attempts in place; the work queue does the long backoff, so that a throttled API never holds a worker thread.
            # Standard mode, because legacy would repeat the EFS throughput change that AWS allows once a day.
            retries={"mode": "standard", "total_max_attempts": 2},
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=pool,
            user_agent_extra=f"buildcache-operator/{buildcache.__version__}",
        )
        self._session = make_session()
        self._credentials = OwnCredentials(self._session)
        self._lock = threading.Lock()
        self._regions: OrderedDict[str, Clients] = OrderedDict()
        self._unsigned = False

    def region(self, name: str) -> Clients:
        """The clients of a region, the same ones for every caller."""
        with self._lock:
            clients = self._regions.get(name)
            if clients is None:
                # A client keeps the credentials that it was made with, and none when there were none.
                self._unsigned = not self._credentials.find() or self._unsigned
                clients = self._regions[name] = Clients(self._session, name, self._config, self._lock)
                while len(self._regions) > REGION_LIMIT:
                    self._regions.popitem(last=False)
            self._regions.move_to_end(name)
            return clients

    def credentials_problem(self) -> str:
        """Why calls cannot be signed and what to do, or an empty text. Blocks for as long as STS takes."""
        problem = self._credentials.problem()
        if not problem:
            with self._lock:
                if self._unsigned:
                    self._regions.clear()
                    self._unsigned = False
        return problem
