"""What is not used of somebody's data, and why. Standard library only."""


class Unusable(Exception):
    """A file that cannot be used: the reason, its particulars, the code of the rule."""

    def __init__(self, reason: str, detail: str = "", code: str = "schema.keys") -> None:
        super().__init__(told(reason, detail))
        self.reason, self.detail, self.code = reason, detail, code


class Reasoned:
    """For what has a `reason` and a `detail`."""

    reason: str
    detail: str

    @property
    def why(self) -> str:
        """The reason with its particulars."""
        return told(self.reason, self.detail)


def told(reason: str, detail: str) -> str:
    """Both, as a person reads them."""
    return f"{reason}: {detail}" if detail else reason
