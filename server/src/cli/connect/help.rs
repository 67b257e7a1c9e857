//! `\help`.

use crate::cli::Failure;

const ALL: &str = "\
Usage: \\help command_name

Available commands: o, timing, show, trim, gaps, load, create, destroy, getinfo, ls, stream, feed, quit
Everything else is SQL. A statement ends with ; or an empty line.
";

const RANGE: &str = "\
Syntax: (same for show/trim/gaps):

    >> \\show <Symbol/Timeframe/AttributeGroup> <start time> [<end time>]

Times are in UTC: 2016-09-15, 2016-09-15T13:30, 2016-09-15T13:30:05.25Z or seconds since 1970.

- Example: start time only:

    >> \\show TSLA/1Min/OHLCV 2016-09-15T13:30

- Example: start and finish times:

    >> \\show TSLA/1Min/OHLCV 2016-09-15 2016-09-16

show: displays data in the date range; the word csv sends it to mstore-csv-output.csv
trim: removes the data of the bucket from the start time to the end time, else to the end of that year
gaps: finds gaps in data in the date range, or in all of it without one
";

const LOAD: &str = "\
The load command loads data into a bucket from csv files, plain or gzip.

Syntax:

    >> \\load <Symbol/Timeframe/AttributeGroup> <csv input file> [<loader control file>]

Without a control file the first line has the names, and times are seconds since 1970 or ISO 8601.

- Example of a control file:

    firstRowHasColumnNames: false
    timeFormat: \"20060102 15:04:05\"     # a Go layout, or the word timestamp
    timeZone: \"US/Eastern\"
    columnNameMap: [Epoch, Open, High, Low, Close, Volume]

\"Epoch\" is a special name, as are \"Epoch-date\" and \"Epoch-time\" for a date and a time in two columns.
Lines that are not rows are listed with their numbers; the rest is loaded.
";

const CREATE: &str = "\
The create command makes a bucket.
Syntax:
    >> \\create <key> <columns> <row-type>
Example: 1 minute candles of TSLA:
    >> \\create TSLA/1Min/OHLCV:Symbol/Timeframe/AttributeGroup Open,High,Low,Close/float32:Volume/int32 fixed

<key>:      the items; the categories behind : may be left out
<columns>:  name1,name2/type:name3/type; types are float32 float64 byte int16 int32 int64
            uint8 uint16 uint32 uint64 string16 bool
<row-type>: fixed (one row a time: bars) or variable (every row is kept: ticks)

The destroy command removes a bucket with all its rows.
Syntax:
    >> \\destroy <key>
";

/// The text of a topic.
pub(super) fn text(topic: Option<&str>) -> Result<&'static str, Failure> {
    Ok(match topic.unwrap_or("help").trim_start_matches('\\') {
        "help" => ALL,
        "o" => "\\o file: sends rows into the file as CSV without a header; \\o: to the terminal\n",
        "timing" => "\\timing: toggles the time that queries took\n",
        "show" | "trim" | "gaps" => RANGE,
        "load" => LOAD,
        "create" | "destroy" => CREATE,
        "getinfo" => "\\getinfo key: columns, kind and newest row of a bucket\n",
        "ls" => "\\ls [pattern]: the buckets, all or those that match (*/1Min/*)\n",
        "stream" => {
            "\\stream pattern [count]: rows as they are written, until Ctrl-C or so many messages.\n\
             The server needs the plugin stream on the buckets.\n"
        }
        "feed" => {
            "\\feed: the sources and workers of the server that bring rows, and how they do\n"
        }
        "quit" | "q" | "stop" | "exit" => "\\q, \\quit, \\stop, exit: ends the session\n",
        other => return Err(Failure::new(format!("No help available for {other}"))),
    })
}
