"""What is known of PostgreSQL's built-in functions without asking a server.

A statement may read on any instance, and its connection needs no reset, when all the functions
it calls stand in :data:`VETTED`. The list holds the functions of ``pg_catalog`` that are immutable
or stable in every form, safe in parallel plans, and made to be called by people; it was taken
from ``pg_proc`` of PostgreSQL 15 and 18. A function that is not listed here is not thereby bad:
the catalogue decides once a server can be asked.
"""

from __future__ import annotations

from typing import Final

VETTED: Final = frozenset(
    (  # noqa: SIM905 - a list of words reads best as words
        # Aggregates and window functions
        """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop
    covar_samp cume_dist dense_rank every first_value json_agg json_agg_strict json_object_agg
    json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg
    jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict lag last_value lead max min mode nth_value ntile percent_rank
    percentile_cont percentile_disc range_agg range_intersect_agg rank regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number stddev
    stddev_pop stddev_samp string_agg sum var_pop var_samp variance xmlagg
    """
        # JSON
        """
    array_to_json json_array_element json_array_element_text json_array_elements
    json_array_elements_text json_array_length json_build_array json_build_object json_each
    json_each_text json_extract_path json_extract_path_text json_object json_object_keys
    json_populate_record json_populate_recordset json_strip_nulls json_to_record json_to_recordset
    json_to_tsvector json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_concat jsonb_contained jsonb_contains jsonb_delete
    jsonb_delete_path jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys
    jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record
    jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax
    jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_to_tsvector jsonb_typeof
    row_to_json to_json to_jsonb
    """
        # Text search
        """
    array_to_tsvector get_current_ts_config numnode phraseto_tsquery plainto_tsquery querytree
    setweight strip to_tsquery to_tsvector ts_debug ts_delete ts_filter ts_headline ts_lexize
    ts_rank ts_rank_cd tsquery_phrase tsvector_to_array websearch_to_tsquery
    """
        # The session and the catalogue, read only
        """
    acldefault aclexplode col_description current_database current_setting current_user
    format_type getdatabaseencoding has_any_column_privilege has_column_privilege
    has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
    has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege
    has_sequence_privilege has_server_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege hashtext hashtextextended inet_client_addr inet_client_port
    inet_server_addr inet_server_port mxid_age obj_description oidvectortypes pg_backend_pid
    pg_basetype pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible
    pg_column_compression pg_column_is_updatable pg_column_size pg_conf_load_time pg_config
    pg_conversion_is_visible pg_current_snapshot pg_describe_object pg_encoding_max_length
    pg_encoding_to_char pg_function_is_visible pg_get_acl pg_get_constraintdef pg_get_expr
    pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result
    pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords
    pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef
    pg_get_replica_identity_index pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef
    pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef
    pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object pg_identify_object_as_address
    pg_input_error_info pg_input_is_valid pg_is_other_temp_schema pg_lsn pg_my_temp_schema
    pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_partition_root
    pg_postmaster_start_time pg_relation_is_publishable pg_relation_is_updatable
    pg_sequence_parameters pg_size_bytes pg_size_pretty pg_snapshot_xip pg_snapshot_xmax
    pg_snapshot_xmin pg_statistics_obj_is_visible pg_table_is_visible pg_timezone_abbrevs
    pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_timezone_names pg_trigger_depth
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
    pg_ts_template_is_visible pg_type_is_visible pg_typeof pg_visible_in_snapshot pg_wal_lsn_diff
    pg_walfile_name pg_walfile_name_offset row_security_active session_user shobj_description
    system_user to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc
    to_regprocedure to_regrole to_regtype to_regtypemod txid_current_snapshot txid_snapshot_xip
    txid_snapshot_xmax txid_snapshot_xmin txid_visible_in_snapshot unicode_version version
    """
        # Dates and times
        """
    age date date_add date_bin date_part date_subtract date_trunc datemultirange daterange
    isfinite justify_days justify_hours justify_interval make_date make_interval make_time
    make_timestamp make_timestamptz now overlaps statement_timestamp timestamp timestamptz timetz
    timezone to_date to_timestamp transaction_timestamp
    """
        # Arrays, sets and ranges
        """
    array_append array_cat array_dims array_fill array_length array_lower array_ndims
    array_position array_positions array_prepend array_remove array_replace array_reverse
    array_sort array_to_string array_upper cardinality enum_first enum_last enum_range
    generate_series generate_subscripts in_range int4multirange int4range int8multirange int8range
    isempty lower_inc lower_inf multirange num_nonnulls num_nulls nummultirange numrange
    range_merge string_to_array string_to_table trim_array tsmultirange tsrange tstzmultirange
    tstzrange unnest upper_inc upper_inf
    """
        # Text, numbers, bits, networks, geometry and the rest
        """
    abbrev abs acos acosd acosh area ascii asin asind asinh atan atan2 atan2d atand atanh
    bit_count bit_length bool bound_box box bpchar broadcast bytea casefold cbrt ceil ceiling
    center char_length character_length chr circle concat concat_ws convert convert_from
    convert_to cos cosd cosh cot cotd crc32 crc32c decode degrees diagonal diameter div encode erf
    erfc exp extract factorial family float4 float8 floor format gamma gcd get_bit get_byte height
    host hostmask inet_merge inet_same_family initcap int2 int4 int8 is_normalized ishorizontal
    isparallel isperp isvertical lcm left length lgamma like line ln log log10 lower lpad lseg
    ltrim masklen md5 min_scale mod money netmask network network_sub normalize npoints numeric
    octet_length oid overlay parse_ident path pi point polygon position pow power quote_ident
    quote_literal quote_nullable radians radius regclass regexp_count regexp_instr regexp_like
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
    regexp_substr repeat replace reverse right round rpad rtrim scale set_bit set_byte set_masklen
    sha224 sha256 sha384 sha512 sign sin sind sinh slope split_part sqrt starts_with strpos substr
    substring tan tand tanh text to_ascii to_bin to_char to_hex to_number to_oct translate
    trim_scale trunc unicode_assigned unistr upper uuid_extract_timestamp uuid_extract_version
    varchar width width_bucket xml xml_is_well_formed xml_is_well_formed_content
    xml_is_well_formed_document xmlcomment xmltext xmlvalidate xpath xpath_exists
    """
        # Marked volatile, or unsafe in parallel plans, only since they tell of the instance
        """
    current_query current_schema current_schemas pg_blocking_pids pg_current_wal_flush_lsn
    pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_size pg_indexes_size
    pg_is_in_recovery pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_partition_ancestors pg_partition_tree pg_relation_size
    pg_table_size pg_tablespace_size pg_total_relation_size pg_xact_status txid_status
    """
        # Aurora's own
        """
    aurora_db_instance_identifier aurora_replica_status aurora_version
    """
    ).split()
)
"""They change nothing and leave nothing behind in the session."""

HARMLESS_VOLATILE: Final = frozenset(
    """
    array_sample array_shuffle clock_timestamp currval gen_random_uuid lastval pg_sleep
    pg_sleep_for pg_sleep_until random random_normal timeofday uuidv4 uuidv7
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Another answer at each call, so that a statement with them counts as a write; the session they
leave as it was."""

VOLATILE: Final = frozenset(
    """
    dblink dblink_exec dblink_send_query dblink_connect dblink_disconnect nextval pg_cancel_backend
    pg_create_restore_point pg_export_snapshot pg_log_backend_memory_contexts
    pg_logical_emit_message pg_notify pg_promote pg_reload_conf pg_rotate_logfile pg_switch_wal
    pg_terminate_backend pg_wal_replay_pause pg_wal_replay_resume query_to_xml set_config setseed
    setval txid_current pg_current_xact_id ts_rewrite ts_stat
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Known to write, or to change the session."""

VOLATILE_PREFIXES: Final = (
    "dblink_",
    "lo_",
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_replication_",
    "pg_logical_slot_",
    "pg_stat_reset",
    "pg_create_",
    "pg_drop_",
    "pg_backup_",
)
"""The same, by how the name begins."""
