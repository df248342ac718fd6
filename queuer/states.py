"""The states that jobs and workers go through, and the retry strategies."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job is in its life. The first three live in `job`, the last three in `job_archive`."""

    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


LIVE = (JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.RUNNING)
ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class WorkerStatus(StrEnum):
    """READY: made, not started. RUNNING: takes jobs. STOPPED: takes none any more."""

    READY = "READY"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class WorkerRequest(StrEnum):
    """What a worker was asked to do, from anywhere."""

    STOP = "STOP"
    STOP_GRACEFULLY = "STOP_GRACEFULLY"


class RetryBackoff(StrEnum):
    """How the delay before a retry grows: `d, d, d`, `d, 2d, 3d` or `d, 2d, 4d`."""

    NONE = "none"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
