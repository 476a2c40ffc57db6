"""The rule that arguments of several modules have in common."""


def check_positive(**arguments):
    """Raises a ValueError that names the first argument that is not above 0."""
    for name, value in arguments.items():
        if not value > 0:
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value}"
            )
