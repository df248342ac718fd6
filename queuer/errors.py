"""The errors that queuer raises. Each is a `QueuerError`, and a fitting built-in error too."""


class QueuerError(Exception):
    """Base of all errors that queuer raises on purpose."""

    #: Raised in an attempt: another one could but fail the same way, so there is none.
    is_final: bool = False


class ConfigurationError(QueuerError, ValueError):
    """A setting is missing, blank, malformed, or can't be met by the server."""


class DatabaseUnavailable(QueuerError, ConnectionError):
    """PostgreSQL can't be reached, or does not let us in."""


class NotPermitted(QueuerError, PermissionError):
    """The database user lacks a privilege that this takes."""


class SchemaTooNew(QueuerError):
    """The database was migrated by a newer version of queuer than this one."""


class JobNotFound(QueuerError, LookupError):
    """No job has this rid in the place where it was looked for."""


class WorkerNotFound(QueuerError, LookupError):
    """No worker has this rid."""


class NoCurrentJob(QueuerError, LookupError):
    """`current_job()` was called outside a job."""


class TaskNotRegistered(QueuerError, LookupError):
    """The callable or name is not a task of this queuer."""


class TaskNotImportable(QueuerError, ImportError):
    """A child process can't find the task by its module and its name there."""

    is_final = True


class TaskAlreadyRegistered(QueuerError, ValueError):
    """Another task has this name already."""


class DecryptionError(QueuerError):
    """An encrypted value whose key is missing here, or does not open it: it was damaged or moved."""

    is_final = True


class InvalidParameters(QueuerError, TypeError):
    """Parameters that do not fit the task's signature, or that JSON in PostgreSQL can't hold."""


class ProcessDied(QueuerError):
    """The child process of a task ended while the task ran: a crash, an exit, or a kill from outside."""


class ReadOnlyModel(QueuerError, TypeError):
    """A row of the queue's was added, changed or deleted through a SQLAlchemy session. The queuer writes them."""


class JobTimeout(QueuerError, TimeoutError):
    """An attempt took longer than its `OnError.timeout`. Raised inside the task."""


class WorkerLost(QueuerError):
    """The job's worker died under it again and again. Its name begins the `error` of such a job; it is never raised."""


class JobInterrupted(QueuerError):
    """The worker stops and takes the job back from its task. Raised inside the task."""


class JobCancelled(QueuerError):
    """The job was cancelled while it ran. Raised inside the task."""
