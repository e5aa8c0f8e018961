"""The one exception family of the package.

::

    InternVLError
    ├── ConfigError             (ValueError)   a configuration, flag or field that cannot be right
    ├── CheckpointError         (ValueError)   files of a model that are missing, unsafe or do not fit
    ├── MediaError              (ValueError)   a picture, video or document that cannot be read or is refused
    ├── RequestError            (ValueError)   a request that cannot be answered as asked
    │   └── ContextLengthError                 prompt and answer do not fit; carries the token bill
    ├── DataError               (ValueError)   a row of training data that cannot be used; file and line
    ├── CapacityError           (RuntimeError) not now, perhaps later: queue, memory (retryable)
    └── MissingDependencyError  (ImportError)  an optional package is needed; names its pip command

Every message answers: what, where, what was expected, what to do.
"""


class InternVLError(Exception):
    """Base of every error that the package raises on purpose."""


class ConfigError(InternVLError, ValueError):
    """A configuration, flag or field that cannot be right."""


class CheckpointError(InternVLError, ValueError):
    """Files of a model that are missing, unsafe or do not fit."""


class MediaError(InternVLError, ValueError):
    """A picture, video or document that cannot be read, or that a limit refuses."""


class RequestError(InternVLError, ValueError):
    """A request that cannot be answered as asked."""


class ContextLengthError(RequestError):
    """Prompt plus answer exceed the session length; the message holds the token bill."""


class DataError(InternVLError, ValueError):
    """A row of training data that cannot be used; the message begins with its file and line."""


class CapacityError(InternVLError, RuntimeError):
    """No room now; the same request may succeed later."""


class MissingDependencyError(InternVLError, ImportError):
    """An optional package is needed; the message names the pip command."""
