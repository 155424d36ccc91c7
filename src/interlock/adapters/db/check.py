"""Whether a database is sound, as far as it can say so itself."""

from interlock.adapters.db.engine import Database


async def damage(database: Database) -> list[str]:
    """What SQLite finds wrong with its file, in its words; nothing if all is well, or if it is no SQLite."""
    rows = await database.read(
        lambda connection: (
            connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars().all()
            if connection.dialect.name == "sqlite"
            else []
        )
    )
    return [str(text) for text in rows if text != "ok"]
