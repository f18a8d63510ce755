"""Jobs that wait for their turn."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0007_admission.sql").read_text().replace("%", "%%"))
