//! `mkts alter`: the columns of a bucket, while it is in use.

use client::Alter;
use client::wire::parse_type_or_word;
use engine::SchemaChange;
use model::{BucketKey, ColumnDef};
use serde_json::json;

use super::place::{Opened, Place};
use super::{Failure, remote, start};

/// Arguments of `mkts alter`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All changes are one commit, made in this order: drop, rename, widen, add. Rows that are there have \
NaN, 0 or an empty text in a new column. Types: f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 U16; a column only \
ever becomes wider, so that no value changes.")]
pub(super) struct Args {
    /// Bucket: symbol/timeframe/attribute group.
    key: String,
    /// New column.
    #[arg(long, value_name = "NAME:TYPE")]
    add: Vec<String>,
    /// Wider type of a column.
    #[arg(long, value_name = "NAME:TYPE")]
    widen: Vec<String>,
    /// New name of a column.
    #[arg(long, value_name = "OLD:NEW")]
    rename: Vec<String>,
    /// Column that goes, with its values.
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = BucketKey::parse(&args.key).map_err(|error| Failure::new(error.to_string()))?;
    let alter = changes(args).map_err(Failure::new)?;
    let version = match args.place.open(false)? {
        Opened::Server(mut client) => client
            .alter(&key, &alter)
            .map_err(|error| remote::failure(&error))?,
        Opened::Store(engine) => {
            let done = engine.alter(&key, &in_order(alter));
            let info = done.map_err(|error| start::engine_failure(&error))?;
            let closed = engine.close();
            closed.map_err(|error| start::engine_failure(&error))?;
            u64::from(info.schema_version)
        }
    };
    match args.json {
        true => println!("{}", json!({ "key": key.as_str(), "version": version })),
        false => println!("{key}: version {version} of its columns"),
    }
    Ok(())
}

fn changes(args: &Args) -> Result<Alter, String> {
    let alter = Alter {
        add: columns("--add", &args.add)?,
        widen: columns("--widen", &args.widen)?,
        rename: args
            .rename
            .iter()
            .map(|text| pair("--rename", text, "OLD:NEW"))
            .collect::<Result<_, _>>()?,
        drop: args.drop.clone(),
    };
    match alter == Alter::default() {
        true => Err("nothing to change: use --add, --widen, --rename or --drop".into()),
        false => Ok(alter),
    }
}

fn columns(option: &str, texts: &[String]) -> Result<Vec<ColumnDef>, String> {
    let one = |text: &String| {
        let (name, code) = pair(option, text, "NAME:TYPE")?;
        let ty = parse_type_or_word(&code).ok_or_else(|| {
            format!("{option}: \"{code}\" is no type; known are f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 U16")
        })?;
        Ok(ColumnDef::new(&name, ty))
    };
    texts.iter().map(one).collect()
}

fn pair(option: &str, text: &str, form: &str) -> Result<(String, String), String> {
    match text.rsplit_once(':') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() => Ok((a.to_owned(), b.to_owned())),
        _ => Err(format!("{option}: \"{text}\" is not {form}")),
    }
}

fn in_order(alter: Alter) -> Vec<SchemaChange> {
    let drop = alter.drop.into_iter();
    let drop = drop.map(|column| SchemaChange::Drop { column });
    let rename = alter.rename.into_iter();
    let rename = rename.map(|(from, to)| SchemaChange::Rename { from, to });
    let widen = alter.widen.into_iter().map(|def| SchemaChange::Widen {
        column: def.name,
        ty: def.ty,
    });
    let add = alter.add.into_iter().map(SchemaChange::Add);
    drop.chain(rename).chain(widen).chain(add).collect()
}
