"""What the input `archive` is made of: places of files, unpacking, reading lines from any place on, and the plan of all
files.
"""

from dpiped.archive.places import ArchivePath, Places, is_in_bucket
from dpiped.archive.plan import Plan
from dpiped.archive.reader import Lines, Reader, Spot
from dpiped.archive.unpack import DamagedFileError

__all__ = ["ArchivePath", "DamagedFileError", "Lines", "Places", "Plan", "Reader", "Spot", "is_in_bucket"]
