"""Which errors are a person's to mend, and what is said of them."""

import errno

from neglab.errors import UserError, is_disk_full
from neglab.typed_overrides import explained

# Where a plugin of Hydra comes from, by what its error names.
EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "slurm",
    "hydra_ray_launcher": "ray",
    "hydra/sweeper/optuna": "optuna",
}
# Of a file or folder that a person has named.
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


def users_mistake(error: BaseException) -> str | None:
    """The message of the mistake that the user can mend, anywhere in the chain of causes; None: it is ours."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # an error that is raised out of its wrapping is its own context
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    if found := next((link for link in chain if isinstance(link, UserError)), None):
        return str(found)
    return next((message for message in map(_config_or_disk, chain) if message), None)


def _config_or_disk(error: BaseException) -> str | None:
    """A message for what Hydra, OmegaConf and the operating system find wrong."""
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, InstantiationException):
        # A class that is not there or a key that it does not know is the user's; what a constructor does wrong is ours.
        if str(error).startswith("Error locating target"):
            return f"{error.__cause__}\nA class of your own must be importable: PYTHONPATH=FOLDER neglab ..."
        return f"The config does not fit: {error}" if isinstance(error.__cause__, TypeError) else None
    if extra := next((EXTRAS[plugin] for plugin in EXTRAS if plugin in str(error)), None):
        return f"This plugin of Hydra is a package of its own. Install it: pip install 'neglab[{extra}]'"
    if isinstance(error, HydraException):
        return explained(f"{error}\n{error.__cause__ or ''}".strip())
    if isinstance(error, MissingMandatoryValue):
        return f"{error}. Give it on the command line: {error.full_key}=..."
    if isinstance(error, OmegaConfBaseException):
        return f"The config cannot be resolved: {error}"
    if is_disk_full(error):
        return f"The disk is full: {error}. Free some space and run the same command again."
    if isinstance(error, OSError) and error.errno in UNUSABLE:
        return f"A file or folder cannot be used: {error}. Change its permissions, or choose another place."
    return None
