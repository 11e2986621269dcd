import arguments
import duckdb

LINES = "read_csv({}, columns = {{'line': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '', header = false)"
QUERIES = {
    "word_count": f"""
        SELECT word, count(*) FROM (SELECT unnest(string_split(line, ' ')) AS word FROM {LINES.format("$all")})
        GROUP BY word""",
    "terasort": f"SELECT line FROM {LINES.format('$all')} ORDER BY line",
    "measurements": """
        SELECT station, min(degrees), avg(degrees), max(degrees)
        FROM read_csv($all, columns = {'station': 'VARCHAR', 'degrees': 'DOUBLE'}, delim = ';', header = false)
        GROUP BY station""",
    "join": """
        SELECT user_id, '[' || amount || ',"' || country || '"]'
        FROM read_csv($first, columns = {'user_id': 'VARCHAR', 'amount': 'BIGINT'}, delim = '\t', header = false) AS o
        JOIN read_csv($last, columns = {'user_id': 'VARCHAR', 'country': 'VARCHAR'}, delim = '\t', header = false) AS u
        USING (user_id)""",
}


def quoted(paths):
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def main():
    asked = arguments.parse(QUERIES)
    query = QUERIES[asked.work]
    for name, paths in (("$all", asked.inputs), ("$first", asked.inputs[:-1]), ("$last", asked.inputs[-1:])):
        query = query.replace(name, quoted(paths))
    connection = duckdb.connect()
    connection.execute(f"SET threads = {asked.processes}")
    output = asked.output.replace("'", "''")
    connection.execute(f"COPY ({query}) TO '{output}' (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')")


if __name__ == "__main__":
    main()
