"""Results are found by their job."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0013_results_of_job.sql").read_text().replace("%", "%%"))
