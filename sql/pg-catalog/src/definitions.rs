//! The tables of `pg_catalog` and `information_schema` with their columns, as PostgreSQL 16 has them.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::types::TYPE_KEY;

/// One table a line: its name, then its columns with a letter for the type each, see [`ty`]. Tables of
/// `information_schema` have that name in front. `+` is in front of tables that have rows.
const TABLES: &str = "
+pg_class oid:o relname:n relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o reltablespace:o relpages:4 reltuples:f relallvisible:4 reltoastrelid:o relhasindex:b relisshared:b relpersistence:c relkind:c relnatts:2 relchecks:2 relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b relispopulated:b relreplident:c relispartition:b relrewrite:o relfrozenxid:o relminmxid:o relacl:T reloptions:T relpartbound:t
+pg_attribute attrelid:o attname:n atttypid:o attlen:2 attnum:2 attcacheoff:4 atttypmod:4 attndims:2 attbyval:b attalign:c attstorage:c attcompression:c attnotnull:b atthasdef:b atthasmissing:b attidentity:c attgenerated:c attisdropped:b attislocal:b attinhcount:2 attstattarget:2 attcollation:o attacl:T attoptions:T attfdwoptions:T attmissingval:t
+pg_namespace oid:o nspname:n nspowner:o nspacl:T
+pg_type oid:o typname:n typnamespace:o typowner:o typlen:2 typbyval:b typtype:c typcategory:c typispreferred:b typisdefined:b typdelim:c typrelid:o typsubscript:r typelem:o typarray:o typinput:r typoutput:r typreceive:r typsend:r typmodin:r typmodout:r typanalyze:r typalign:c typstorage:c typnotnull:b typbasetype:o typtypmod:4 typndims:4 typcollation:o typdefaultbin:t typdefault:t typacl:T
+pg_database oid:o datname:n datdba:o encoding:4 datlocprovider:c datistemplate:b datallowconn:b datconnlimit:4 datfrozenxid:o datminmxid:o dattablespace:o datcollate:t datctype:t daticulocale:t daticurules:t datcollversion:t datacl:T
+pg_roles oid:o rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolconnlimit:4 rolpassword:t rolvaliduntil:z rolbypassrls:b rolconfig:T
+pg_authid oid:o rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolbypassrls:b rolconnlimit:4 rolpassword:t rolvaliduntil:z
+pg_user usename:n usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:z useconfig:T
+pg_am oid:o amname:n amhandler:r amtype:c
+pg_tablespace oid:o spcname:n spcowner:o spcacl:T spcoptions:T
+pg_settings name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t source:t min_val:t max_val:t enumvals:T boot_val:t reset_val:t sourcefile:t sourceline:4 pending_restart:b
+pg_proc oid:o proname:n pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o prosupport:r prokind:c prosecdef:b proleakproof:b proisstrict:b proretset:b provolatile:c proparallel:c pronargs:2 pronargdefaults:2 prorettype:o proargtypes:O proallargtypes:O proargmodes:T proargnames:T proargdefaults:t protrftypes:O prosrc:t probin:t prosqlbody:t proconfig:T proacl:T
+pg_language oid:o lanname:n lanowner:o lanispl:b lanpltrusted:b lanplcallfoid:o laninline:o lanvalidator:o lanacl:T
+pg_tables schemaname:n tablename:n tableowner:n tablespace:n hasindexes:b hasrules:b hastriggers:b rowsecurity:b
+pg_stat_user_tables relid:o schemaname:n relname:n seq_scan:8 seq_tup_read:8 idx_scan:8 idx_tup_fetch:8 n_tup_ins:8 n_tup_upd:8 n_tup_del:8 n_live_tup:8 n_dead_tup:8
pg_attrdef oid:o adrelid:o adnum:2 adbin:t
pg_collation oid:o collname:n collnamespace:o collowner:o collprovider:c collisdeterministic:b collencoding:4 collcollate:t collctype:t colliculocale:t collicurules:t collversion:t
pg_index indexrelid:o indrelid:o indnatts:2 indnkeyatts:2 indisunique:b indnullsnotdistinct:b indisprimary:b indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:S indcollation:O indclass:O indoption:S indexprs:t indpred:t
pg_constraint oid:o conname:n connamespace:o contype:c condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o conindid:o conparentid:o confrelid:o confupdtype:c confdeltype:c confmatchtype:c conislocal:b coninhcount:2 connoinherit:b conkey:S confkey:S conpfeqop:O conppeqop:O conffeqop:O confdelsetcols:S conexclop:O conbin:t
pg_description objoid:o classoid:o objsubid:4 description:t
pg_shdescription objoid:o classoid:o description:t
pg_seclabel objoid:o classoid:o objsubid:4 provider:t label:t
pg_shseclabel objoid:o classoid:o provider:t label:t
pg_depend classid:o objid:o objsubid:4 refclassid:o refobjid:o refobjsubid:4 deptype:c
pg_shdepend dbid:o classid:o objid:o objsubid:4 refclassid:o refobjid:o deptype:c
pg_enum oid:o enumtypid:o enumsortorder:f enumlabel:n
pg_range rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical:r rngsubdiff:r
pg_inherits inhrelid:o inhparent:o inhseqno:4 inhdetachpending:b
pg_partitioned_table partrelid:o partstrat:c partnatts:2 partdefid:o partattrs:S partclass:O partcollation:O partexprs:t
pg_policy oid:o polname:n polrelid:o polcmd:c polpermissive:b polroles:O polqual:t polwithcheck:t
pg_policies schemaname:n tablename:n policyname:n permissive:t roles:T cmd:t qual:t with_check:t
pg_rewrite oid:o rulename:n ev_class:o ev_type:c ev_enabled:c is_instead:b ev_qual:t ev_action:t
pg_rules schemaname:n tablename:n rulename:n definition:t
pg_trigger oid:o tgrelid:o tgparentid:o tgname:n tgfoid:o tgtype:2 tgenabled:c tgisinternal:b tgconstrrelid:o tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:2 tgattr:S tgargs:t tgqual:t tgoldtable:n tgnewtable:n
pg_event_trigger oid:o evtname:n evtevent:n evtowner:o evtfoid:o evtenabled:c evttags:T
pg_extension oid:o extname:n extowner:o extnamespace:o extrelocatable:b extversion:t extconfig:O extcondition:T
pg_available_extensions name:n default_version:t installed_version:t comment:t
pg_foreign_data_wrapper oid:o fdwname:n fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:T fdwoptions:T
pg_foreign_server oid:o srvname:n srvowner:o srvfdw:o srvtype:t srvversion:t srvacl:T srvoptions:T
pg_foreign_table ftrelid:o ftserver:o ftoptions:T
pg_user_mapping oid:o umuser:o umserver:o umoptions:T
pg_user_mappings umid:o srvid:o srvname:n umuser:o usename:n umoptions:T
pg_sequence seqrelid:o seqtypid:o seqstart:8 seqincrement:8 seqmax:8 seqmin:8 seqcache:8 seqcycle:b
pg_sequences schemaname:n sequencename:n sequenceowner:n data_type:t start_value:8 min_value:8 max_value:8 increment_by:8 cycle:b cache_size:8 last_value:8
pg_publication oid:o pubname:n pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b
pg_publication_rel oid:o prpubid:o prrelid:o prqual:t prattrs:S
pg_publication_namespace oid:o pnpubid:o pnnspid:o
pg_publication_tables pubname:n schemaname:n tablename:n attnames:T rowfilter:t
pg_subscription oid:o subdbid:o subname:n subowner:o subenabled:b subbinary:b substream:c subtwophasestate:c subdisableonerr:b subconninfo:t subslotname:n subsynccommit:t subpublications:T suborigin:t
pg_statistic_ext oid:o stxrelid:o stxname:n stxnamespace:o stxowner:o stxstattarget:4 stxkeys:S stxkind:T stxexprs:t
pg_stats schemaname:n tablename:n attname:n inherited:b null_frac:f avg_width:4 n_distinct:f
pg_aggregate aggfnoid:o aggkind:c aggnumdirectargs:2 aggtranstype:o
pg_operator oid:o oprname:n oprnamespace:o oprowner:o oprkind:c oprcanmerge:b oprcanhash:b oprleft:o oprright:o oprresult:o oprcom:o oprnegate:o oprcode:o oprrest:o oprjoin:o
pg_opclass oid:o opcmethod:o opcname:n opcnamespace:o opcowner:o opcfamily:o opcintype:o opcdefault:b opckeytype:o
pg_opfamily oid:o opfmethod:o opfname:n opfnamespace:o opfowner:o
pg_amop oid:o amopfamily:o amoplefttype:o amoprighttype:o amopstrategy:2 amoppurpose:c amopopr:o amopmethod:o amopsortfamily:o
pg_amproc oid:o amprocfamily:o amproclefttype:o amprocrighttype:o amprocnum:2 amproc:o
pg_cast oid:o castsource:o casttarget:o castfunc:o castcontext:c castmethod:c
pg_conversion oid:o conname:n connamespace:o conowner:o conforencoding:4 contoencoding:4 conproc:o condefault:b
pg_default_acl oid:o defaclrole:o defaclnamespace:o defaclobjtype:c defaclacl:T
pg_auth_members oid:o roleid:o member:o grantor:o admin_option:b inherit_option:b set_option:b
pg_db_role_setting setdatabase:o setrole:o setconfig:T
pg_group groname:n grosysid:o grolist:O
pg_largeobject_metadata oid:o lomowner:o lomacl:T
pg_ts_config oid:o cfgname:n cfgnamespace:o cfgowner:o cfgparser:o
pg_ts_dict oid:o dictname:n dictnamespace:o dictowner:o dicttemplate:o dictinitoption:t
pg_ts_parser oid:o prsname:n prsnamespace:o prsstart:o prstoken:o prsend:o prsheadline:o prslextype:o
pg_ts_template oid:o tmplname:n tmplnamespace:o tmplinit:o tmpllexize:o
pg_parameter_acl oid:o parname:t paracl:T
pg_indexes schemaname:n tablename:n indexname:n tablespace:n indexdef:t
pg_views schemaname:n viewname:n viewowner:n definition:t
pg_matviews schemaname:n matviewname:n matviewowner:n tablespace:n hasindexes:b ispopulated:b definition:t
pg_prepared_xacts transaction:o gid:t prepared:z owner:n database:n
pg_prepared_statements name:t statement:t prepare_time:z from_sql:b
pg_cursors name:t statement:t is_holdable:b is_binary:b is_scrollable:b creation_time:z
pg_locks locktype:t database:o relation:o page:4 tuple:2 virtualxid:t transactionid:o classid:o objid:o objsubid:2 virtualtransaction:t pid:4 mode:t granted:b fastpath:b
pg_stat_activity datid:o datname:n pid:4 leader_pid:4 usesysid:o usename:n application_name:t client_addr:t client_hostname:t client_port:4 backend_start:z xact_start:z query_start:z state_change:z wait_event_type:t wait_event:t state:t backend_xid:o backend_xmin:o query_id:8 query:t backend_type:t
pg_stat_replication pid:4 usesysid:o usename:n application_name:t client_addr:t state:t
pg_stat_wal_receiver pid:4 status:t
pg_stat_database datid:o datname:n numbackends:4 xact_commit:8 xact_rollback:8 blks_read:8 blks_hit:8
pg_replication_slots slot_name:n plugin:n slot_type:t datoid:o database:n active:b
pg_timezone_names name:t abbrev:t utc_offset:t is_dst:b
pg_get_keywords word:t catcode:c barelabel:b catdesc:t baredesc:t
+information_schema.schemata catalog_name:n schema_name:n schema_owner:n default_character_set_catalog:n default_character_set_schema:n default_character_set_name:n sql_path:t
+information_schema.tables table_catalog:n table_schema:n table_name:n table_type:t self_referencing_column_name:n reference_generation:t user_defined_type_catalog:n user_defined_type_schema:n user_defined_type_name:n is_insertable_into:t is_typed:t commit_action:t
+information_schema.columns table_catalog:n table_schema:n table_name:n column_name:n ordinal_position:i column_default:t is_nullable:t data_type:t character_maximum_length:i character_octet_length:i numeric_precision:i numeric_precision_radix:i numeric_scale:i datetime_precision:i interval_type:t interval_precision:i character_set_catalog:n character_set_schema:n character_set_name:n collation_catalog:n collation_schema:n collation_name:n domain_catalog:n domain_schema:n domain_name:n udt_catalog:n udt_schema:n udt_name:n scope_catalog:n scope_schema:n scope_name:n maximum_cardinality:i dtd_identifier:n is_self_referencing:t is_identity:t identity_generation:t identity_start:t identity_increment:t identity_maximum:t identity_minimum:t identity_cycle:t is_generated:t generation_expression:t is_updatable:t
+information_schema.information_schema_catalog_name catalog_name:n
information_schema.views table_catalog:n table_schema:n table_name:n view_definition:t check_option:t is_updatable:t is_insertable_into:t is_trigger_updatable:t is_trigger_deletable:t is_trigger_insertable_into:t
information_schema.table_constraints constraint_catalog:n constraint_schema:n constraint_name:n table_catalog:n table_schema:n table_name:n constraint_type:t is_deferrable:t initially_deferred:t enforced:t nulls_distinct:t
information_schema.key_column_usage constraint_catalog:n constraint_schema:n constraint_name:n table_catalog:n table_schema:n table_name:n column_name:n ordinal_position:i position_in_unique_constraint:i
information_schema.constraint_column_usage table_catalog:n table_schema:n table_name:n column_name:n constraint_catalog:n constraint_schema:n constraint_name:n
information_schema.constraint_table_usage table_catalog:n table_schema:n table_name:n constraint_catalog:n constraint_schema:n constraint_name:n
information_schema.referential_constraints constraint_catalog:n constraint_schema:n constraint_name:n unique_constraint_catalog:n unique_constraint_schema:n unique_constraint_name:n match_option:t update_rule:t delete_rule:t
information_schema.check_constraints constraint_catalog:n constraint_schema:n constraint_name:n check_clause:t
information_schema.routines specific_catalog:n specific_schema:n specific_name:n routine_catalog:n routine_schema:n routine_name:n routine_type:t data_type:t routine_body:t routine_definition:t external_language:t
information_schema.parameters specific_catalog:n specific_schema:n specific_name:n ordinal_position:i parameter_mode:t is_result:t parameter_name:n data_type:t
information_schema.sequences sequence_catalog:n sequence_schema:n sequence_name:n data_type:t start_value:t minimum_value:t maximum_value:t increment:t cycle_option:t
information_schema.triggers trigger_catalog:n trigger_schema:n trigger_name:n event_manipulation:t event_object_catalog:n event_object_schema:n event_object_table:n action_statement:t action_timing:t
information_schema.table_privileges grantor:n grantee:n table_catalog:n table_schema:n table_name:n privilege_type:t is_grantable:t with_hierarchy:t
information_schema.role_table_grants grantor:n grantee:n table_catalog:n table_schema:n table_name:n privilege_type:t is_grantable:t with_hierarchy:t
information_schema.column_privileges grantor:n grantee:n table_catalog:n table_schema:n table_name:n column_name:n privilege_type:t is_grantable:t
information_schema.domains domain_catalog:n domain_schema:n domain_name:n data_type:t
information_schema.element_types object_catalog:n object_schema:n object_name:n object_type:t collection_type_identifier:n data_type:t
information_schema.enabled_roles role_name:n
information_schema.applicable_roles grantee:n role_name:n is_grantable:t
";

/// A table of the catalog.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    /// The letters of its columns.
    pub(crate) letters: Vec<u8>,
    /// Whether it can have rows.
    pub(crate) has_rows: bool,
}

impl Table {
    /// The letter of a column's type.
    pub(crate) fn letter(&self, column: &str) -> Option<u8> {
        let at = self.schema.index_of(column).ok()?;
        self.letters.get(at).copied()
    }
}

/// All tables, by name.
pub(crate) static ALL: LazyLock<BTreeMap<&'static str, Table>> = LazyLock::new(|| {
    let lines = TABLES.lines().filter(|line| !line.is_empty());
    lines.filter_map(table).collect()
});

fn table(line: &'static str) -> Option<(&'static str, Table)> {
    let has_rows = line.starts_with('+');
    let mut words = line.trim_start_matches('+').split(' ');
    let name = words.next()?;
    let (mut fields, mut letters) = (Vec::new(), Vec::new());
    for word in words {
        let (column, letter) = word.split_once(':')?;
        let letter = *letter.as_bytes().first()?;
        letters.push(letter);
        fields.push(field(column, letter));
    }
    let table = Table {
        schema: Arc::new(Schema::new(fields)),
        letters,
        has_rows,
    };
    Some((name, table))
}

/// A field of a type by its letter.
pub(crate) fn field(name: &str, letter: u8) -> Field {
    let (ty, postgres) = ty(letter);
    let field = Field::new(name, ty, true);
    match postgres {
        Some(postgres) => {
            field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), postgres.to_owned())]))
        }
        None => field,
    }
}

/// The type of a letter, and its name in PostgreSQL if Arrow has none of its own.
fn ty(letter: u8) -> (DataType, Option<&'static str>) {
    let list = |ty| DataType::new_list(ty, true);
    match letter {
        b'o' => (DataType::Int64, Some("oid")),
        b'n' => (DataType::Utf8, Some("name")),
        b'c' => (DataType::Utf8, Some("char")),
        b'r' => (DataType::Utf8, Some("regproc")),
        b'b' => (DataType::Boolean, None),
        b'2' => (DataType::Int16, None),
        b'4' | b'i' => (DataType::Int32, None),
        b'8' => (DataType::Int64, None),
        b'f' => (DataType::Float32, None),
        b'z' => (
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            None,
        ),
        b'O' => (list(DataType::Int64), None),
        b'S' => (list(DataType::Int16), None),
        b'T' => (list(DataType::Utf8), None),
        _ => (DataType::Utf8, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_table() {
        let lines = TABLES.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(ALL.len(), lines);
        for (name, table) in ALL.iter() {
            assert!(!table.schema.fields().is_empty(), "{name}");
            let known = table.letters.iter().all(|l| b"onctrb248ifzOST".contains(l));
            assert!(known, "{name}");
        }
        assert!(ALL["pg_class"].has_rows);
        assert_eq!(ALL["pg_class"].letter("relname"), Some(b'n'));
    }
}
