"""The one error that a user sees; without torch, so that the command line can catch it cheaply."""


class UserError(Exception):
    """A mistake that the user can mend. The message says the rule, what came, and what to do; no traceback is shown."""
