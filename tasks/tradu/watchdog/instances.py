"""The watchdog of instances: a process that has not been seen for some leases is lost, and what it held is free."""

from __future__ import annotations

from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.settings import Settings

LEASES_OF_SILENCE = 3


def look(ledger: Ledger, settings: Settings) -> dict[str, int]:
    """Find lost instances and free their leases; counts. One that is seen lives, however long its work takes."""
    with ledger.transaction() as tx:
        lost = tx.tuples("lose_instances", silent_seconds=LEASES_OF_SILENCE * settings.lease_seconds)
        names = [name for name, _ in lost]
        freed = tx.tuples("free_leases_of", instances=names) if names else []
        for name, seen_at in lost:
            said = f"not seen since {seen_at:%Y-%m-%d %H:%M:%S} UTC"
            report(tx, IncidentKind.INSTANCE_LOST, said, entity="instance", entity_id=name)
        tx.run("forget_instances")
    return {"instances_lost": len(lost), "leases_freed": len(freed)}
