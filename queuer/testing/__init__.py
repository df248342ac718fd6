"""For the tests of applications that use queuer. The fixtures of the pytest plugin are made of these.

with AddedJobs() as jobs: …
with InlineJobs() as inline: …
"""

from queuer.testing.added import AddedJob, AddedJobs
from queuer.testing.databases import database_for_tests
from queuer.testing.inline import InlineJobs

__all__ = ["AddedJob", "AddedJobs", "InlineJobs", "database_for_tests"]
