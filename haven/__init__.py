"""Haven: the API that letting agencies run on."""

from typing import Final

__version__: Final = "0.1.0"
