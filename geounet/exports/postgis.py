"""Polygons into PostGIS, in one transaction, by COPY (https://www.postgresql.org/docs/current/sql-copy.html).

One table holds the polygons of any number of products; a second one, `TABLE_classes`, their classes, to which the
first refers. Passwords come from where libpq looks for them: the environment (PGPASSWORD) or `~/.pgpass`.
"""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import numpy as np
import pyarrow as pa
import pyarrow.csv
import shapely

from geounet.errors import OutputError
from geounet.exports.stream import PRODUCT
from geounet.formats.batches import Layer, attributes_of, geometries_of, schema_of_attributes, to_columns, to_multi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import geopandas as gpd
    from pyproj import CRS

    from geounet.classes import LandClass

_log = logging.getLogger(__name__)

MODES = ("create", "append", "replace", "upsert")
"""What becomes of a table that is there: refused; kept; dropped; kept but for the same products' rows."""
_GEOMETRY = "geom"
_OWN = ("gid", PRODUCT, _GEOMETRY)
_LONGEST = 63
"""Bytes of a name in PostgreSQL."""
_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Table:
    """A table in a database."""

    connection: str
    """URL for libpq, without a password."""
    schema: str
    """The schema that it is in."""
    name: str
    """Its own name."""

    @property
    def label(self) -> str:
        """What users know it by."""
        return f"{self.connection.partition('?')[0]}: {self.schema}.{self.name}"

    @property
    def classes(self) -> str:
        """The name of the table of its classes."""
        return f"{self.name}_classes"


def is_database(target: str) -> bool:
    """Whether a target is the URL of a database."""
    return target.partition("://")[0] in _SCHEMES and "://" in target


def parse_table(url: str) -> Table:
    """The table of `postgresql://user@host/db?schema=s&table=t`; other parameters are libpq's.

    Raises:
        OutputError: it names no table, or a password.
    """
    parts = urlsplit(url)
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise OutputError(
            "a password in a URL is seen by everyone who sees the command: leave it out, and give it by PGPASSWORD or "
            "in ~/.pgpass"
        )
    asked = [pair.partition("=") for pair in parts.query.split("&") if pair]
    chosen = {name: unquote(value) for name, _, value in asked if name in ("schema", "table")}
    if not chosen.get("table"):
        raise OutputError(f"{url} names no table: add ?table=NAME, and &schema=NAME where it is not public")
    rest = "&".join(f"{name}={value}" for name, _, value in asked if name not in ("schema", "table"))
    table = Table(urlunsplit((parts.scheme, parts.netloc, parts.path, rest, "")), chosen.get("schema") or "public",
                  chosen["table"])  # fmt: skip
    for name in (table.schema, table.classes):
        if len(name.encode()) > _LONGEST:
            raise OutputError(f"{name} has more than the {_LONGEST} bytes of a name in PostgreSQL; give a shorter one")
    return table


class TableWriter:
    """A table that takes polygons within a transaction; see :func:`open_table`."""

    def __init__(self, cursor: Any, table: Table, mode: str) -> None:
        self.rows = 0
        self.replaced = self.dropped = 0
        self._cursor, self._table, self._mode = cursor, table, mode
        self._schema: pa.Schema | None = None
        self._srid = 0

    def srid_wanted(self) -> int | None:
        """The reference system of the table that rows are added to; None where the table is made anew."""
        if not self._stands():
            return None
        self._cursor.execute(
            "SELECT srid FROM geometry_columns WHERE f_table_schema = %s AND f_table_name = %s "
            "AND f_geometry_column = %s",
            (self._table.schema, self._table.name, _GEOMETRY),
        )
        row = self._cursor.fetchone()
        if row is None:
            raise OutputError(f"{self._table.label} has no column {_GEOMETRY} of geometries; name another table")
        return int(row[0])

    def _stands(self) -> bool:
        if self._mode in ("create", "replace"):
            return False
        return _exists(self._cursor, self._table.schema, self._table.name)

    def prepare(self, attributes: Any, srid: int, legend: Sequence[LandClass]) -> None:
        """Make the tables, or make sure that they fit.

        Args:
            attributes: a pandas frame with the columns that will come; it may be empty.
            srid: of the polygons.
            legend: the classes that polygons may be of.
        """
        self._schema = schema_of_attributes(attributes, Layer(None))
        self._srid = srid
        taken = [name for name in attributes.columns if name.lower() in _OWN]
        if taken:
            raise OutputError(f"column {taken[0]} has a name that the table needs itself; rename it first")
        if not self._stands():
            self._make(has_class="class" in attributes.columns)
        else:
            self._check()
        self._put_classes(legend)

    def _rows_there(self) -> int:
        from psycopg import sql

        if not _exists(self._cursor, self._table.schema, self._table.name):
            return 0
        schema, table, _ = self._names()
        self._cursor.execute(sql.SQL("SELECT count(*) FROM {}.{}").format(schema, table))
        return int(self._cursor.fetchone()[0])

    def _make(self, *, has_class: bool) -> None:
        from psycopg import sql

        schema, table, classes = self._names()
        run = self._cursor.execute
        run(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema)) if not self._has_schema() else None
        if self._mode == "replace":
            self.dropped = self._rows_there()
            for name in (table, classes):
                run(sql.SQL("DROP TABLE IF EXISTS {}.{}").format(schema, name))
        elif _exists(self._cursor, self._table.schema, self._table.name):
            raise OutputError(
                f"{self._table.label} exists; --append adds to it, --upsert replaces the rows of the same products, "
                "--replace all of it"
            )
        legend = "CREATE TABLE IF NOT EXISTS {}.{} (value integer PRIMARY KEY, name text NOT NULL, color text)"
        run(sql.SQL(legend).format(schema, classes))
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(field.name), sql.SQL(_sql_type(field.type)))
            for field in list(self._schema)[:-1]  # type: ignore[arg-type]
        ]
        key = [sql.SQL("FOREIGN KEY (class) REFERENCES {}.{} (value)").format(schema, classes)] if has_class else []
        run(
            sql.SQL(
                "CREATE TABLE {}.{} (gid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product text NOT NULL, {})"
            ).format(
                schema,
                table,
                sql.SQL(", ").join([*columns, sql.SQL(f"geom geometry(MultiPolygon, {self._srid})"), *key]),
            )
        )
        for index in ("USING gist (geom)", "(product)"):
            run(sql.SQL("CREATE INDEX ON {}.{} " + index).format(schema, table))

    def _has_schema(self) -> bool:
        self._cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (f'"{self._table.schema}"',))
        return bool(self._cursor.fetchone()[0])

    def _names(self) -> tuple[Any, Any, Any]:
        from psycopg import sql

        table = self._table
        return sql.Identifier(table.schema), sql.Identifier(table.name), sql.Identifier(table.classes)

    def _check(self) -> None:
        """Make sure that the table which stands has the columns that come."""
        self._cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            (self._table.schema, self._table.name),
        )
        there = {row[0] for row in self._cursor.fetchall()}
        wanted = {PRODUCT, _GEOMETRY, *(field.name for field in list(self._schema)[:-1])}  # type: ignore[arg-type]
        missing = sorted(wanted - there)
        if missing:
            raise OutputError(f"{self._table.label} has no column {', '.join(missing)}; --replace makes the table anew")

    def _put_classes(self, legend: Sequence[LandClass]) -> None:
        from psycopg import sql

        schema, _, classes = self._names()
        self._cursor.execute(sql.SQL("SELECT value, name FROM {}.{}").format(schema, classes))
        known = dict(self._cursor.fetchall())
        for item in legend:
            if known.get(item.value, item.name) != item.name:
                raise OutputError(
                    f"class {item.value} is {known[item.value]!r} in {self._table.label} and {item.name!r} in what "
                    "comes; one table has one class table"
                )
        fresh = [(item.value, item.name, item.color) for item in legend if item.value not in known]
        self._cursor.executemany(sql.SQL("INSERT INTO {}.{} VALUES (%s, %s, %s)").format(schema, classes), fresh)

    def remove(self, product: str) -> None:
        """Remove the rows of a product, where they are to be replaced."""
        from psycopg import sql

        if self._mode == "upsert":
            schema, table, _ = self._names()
            self._cursor.execute(sql.SQL("DELETE FROM {}.{} WHERE product = %s").format(schema, table), (product,))
            self.replaced += self._cursor.rowcount

    def write(self, product: str, frame: gpd.GeoDataFrame) -> None:
        """Add the polygons of a product."""
        from psycopg import sql

        if not len(frame):
            return
        schema, table, _ = self._names()
        arrays = to_columns(attributes_of(frame), self._schema)
        shapes = shapely.set_srid(to_multi(geometries_of(frame)), self._srid)
        ewkb = pa.array(shapely.to_wkb(shapes, hex=True, include_srid=True))
        names = [field.name for field in list(self._schema)[:-1]]  # type: ignore[arg-type]
        whole = pa.table([pa.array(np.full(len(frame), product, object)), *arrays, ewkb], [PRODUCT, *names, _GEOMETRY])
        text = io.BytesIO()
        pa.csv.write_csv(whole, text, pa.csv.WriteOptions(include_header=False))
        columns = sql.SQL(", ").join(map(sql.Identifier, whole.column_names))
        command = sql.SQL("COPY {}.{} ({}) FROM STDIN (FORMAT csv)").format(schema, table, columns)
        with self._cursor.copy(command) as copy:
            copy.write(text.getbuffer())
        self.rows += len(frame)


@contextmanager
def open_table(table: Table, mode: str) -> Iterator[TableWriter]:
    """A table to write to, in one transaction: after an error nothing has changed.

    Two that write to one table wait for one another.

    Args:
        table: which.
        mode: one of :data:`MODES`.

    Raises:
        OutputError: the database cannot be reached, refuses, or has no PostGIS; or psycopg is not installed.
    """
    try:
        import psycopg
    except ImportError as error:
        raise OutputError("writing to PostGIS needs psycopg: pip install 'geounet[postgis]'") from error
    try:
        with psycopg.connect(table.connection, application_name="geounet") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regtype('geometry') IS NOT NULL")
            if not cursor.fetchone()[0]:  # type: ignore[index]
                raise OutputError(f"{table.label}: the database has no PostGIS; CREATE EXTENSION postgis adds it")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"geounet {table.schema}.{table.name}",))
            yield (writer := TableWriter(cursor, table, mode))
        _analyze(table)
    except psycopg.Error as error:
        raise OutputError(f"{table.label}: {' '.join(str(error).split())}") from error
    if writer.replaced:
        _log.warning("%d rows of the same products were replaced", writer.replaced)
    if writer.dropped:
        _log.warning("%s was made anew; the %d rows that it had are gone", table.label, writer.dropped)


def _analyze(table: Table) -> None:
    """The planner's statistics, without which the first queries are slow."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(table.connection, autocommit=True, application_name="geounet") as connection:
        connection.execute(sql.SQL("ANALYZE {}.{}").format(sql.Identifier(table.schema), sql.Identifier(table.name)))


def _exists(cursor: Any, schema: str, name: str) -> bool:
    cursor.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", (schema, name)
    )
    return bool(cursor.fetchone()[0])


def _sql_type(kind: pa.DataType) -> str:
    for is_kind, name in (
        (pa.types.is_boolean, "boolean"), (pa.types.is_integer, "bigint"), (pa.types.is_floating, "double precision"),
        (pa.types.is_date, "date"),
    ):  # fmt: skip
        if is_kind(kind):
            return name
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    return "text"


def srid_of(crs: CRS | None) -> int:
    """The number of a CRS in PostGIS, which has EPSG's.

    Raises:
        OutputError: EPSG does not have it, or there is none.
    """
    code = None if crs is None else crs.to_epsg()
    if code is None:
        what = "there is no CRS" if crs is None else f"{crs.name} has no EPSG code"
        raise OutputError(f"{what}, by which PostGIS knows places; give one to convert to, such as --crs EPSG:4326")
    return int(code)
