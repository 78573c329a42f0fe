"""What is known of the built-in functions of MySQL and MariaDB without asking a server.

The lists follow the manuals of MySQL 8.4 and ``information_schema.SQL_FUNCTIONS`` of MariaDB
10.11. A name without its schema is the built-in one wherever the server has it, and a function
that is only on one of the two servers is asked for in the catalogue of the other.
"""

from __future__ import annotations

from typing import Final

VETTED: Final = frozenset(
    (  # noqa: SIM905 - a list of words reads best as words
        # Aggregates and window functions
        """
    any_value avg bit_and bit_or bit_xor count cume_dist dense_rank first_value group_concat
    grouping json_arrayagg json_objectagg lag last_value lead max median min nth_value ntile
    percent_rank percentile_cont percentile_disc rank row_number std stddev stddev_pop stddev_samp
    sum var_pop var_samp variance
    """
        # Conditions, comparison, casts
        """
    cast coalesce convert convert_tz decode_oracle greatest if ifnull interval isnull least
    column_check column_exists column_json column_list name_const nullif nvl nvl2 to_char
    value values
    """
        # Numbers and bits
        """
    abs acos asin atan atan2 bit_count ceil ceiling conv cos cot crc32 crc32c degrees div exp floor
    format format_bytes format_pico_time ln log log10 log2 mod pi pow power radians round sign sin
    sqrt tan truncate
    """
        # Strings
        """
    aes_decrypt aes_encrypt ascii bin bin_to_uuid bit_length char char_length character_length
    charset chr coercibility collation compress concat concat_operator_oracle concat_ws decode elt
    encode encrypt export_set field find_in_set from_base64 hex insert instr is_uuid json_query
    lcase left length lengthb locate lower lpad ltrim make_set md5 mid natural_sort_key oct
    octet_length old_password ord password position quote regexp_instr regexp_like regexp_replace
    regexp_substr repeat replace reverse right rpad rtrim sformat sha sha1 sha2 soundex space
    statement_digest statement_digest_text strcmp substr substring substring_index to_base64 trim
    ucase uncompress uncompressed_length unhex upper uuid_to_bin weight_string
    validate_password_strength extractvalue updatexml
    """
        # Dates; NOW() and its like are the same throughout a statement
        """
    add_months adddate addtime curdate current_date current_time current_timestamp curtime date
    date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear extract
    from_days from_unixtime get_format hour last_day localtime localtimestamp makedate maketime
    microsecond minute month monthname now period_add period_diff quarter sec_to_time second
    str_to_date subdate subtime time time_format time_to_sec timediff timestamp timestampadd
    timestampdiff to_days to_seconds unix_timestamp utc_date utc_time utc_timestamp week weekday
    weekofyear year yearweek
    """
        # JSON
        """
    json_array json_array_append json_array_insert json_compact json_contains json_contains_path
    json_depth json_detailed json_equals json_exists json_extract json_insert json_keys json_length
    json_loose json_merge json_merge_patch json_merge_preserve json_normalize json_object
    json_overlaps json_pretty json_quote json_remove json_replace json_schema_valid
    json_schema_validation_report json_search json_set json_storage_free json_storage_size
    json_table json_type json_unquote json_valid json_value
    """
        # Networks and places
        """
    inet6_aton inet6_ntoa inet_aton inet_ntoa is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6
    geometrycollection linestring multilinestring multipoint multipolygon point polygon
    mbrcontains mbrcoveredby mbrcovers mbrdisjoint mbrequal mbrequals mbrintersects mbroverlaps
    mbrtouches mbrwithin st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_boundary
    st_buffer st_centroid st_contains st_convexhull st_crosses st_difference st_dimension
    st_disjoint st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring
    st_geohash st_geomcollfromtext st_geomcollfromwkb st_geometryn st_geometrytype
    st_geomfromgeojson st_geomfromtext st_geomfromwkb st_interiorringn st_intersection
    st_intersects st_isclosed st_isempty st_isring st_issimple st_isvalid st_latfromgeohash
    st_latitude st_length st_linefromtext st_linefromwkb st_longfromgeohash st_longitude
    st_makeenvelope st_mlinefromtext st_mpointfromtext st_mpolyfromtext st_numgeometries
    st_numinteriorrings st_numpoints st_overlaps st_pointatdistance st_pointfromgeohash
    st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_polyfromtext st_polyfromwkb
    st_relate st_simplify st_srid st_startpoint st_swapxy st_symdifference st_touches st_transform
    st_union st_validate st_within st_x st_y
    """
        # The session, read only, and Aurora
        """
    aurora_version connection_id current_role current_user database default ps_current_thread_id
    ps_thread_id roles_graphml schema session_user system_user user version
    """
    ).split()
)
"""They change nothing and leave nothing behind in the session."""

HARMLESS_VOLATILE: Final = frozenset(
    """
    benchmark binlog_gtid_pos found_rows gtid_subset gtid_subtract is_free_lock is_used_lock
    lastval load_file master_gtid_wait master_pos_wait rand random_bytes row_count sleep
    source_pos_wait sys_guid sysdate uuid uuid_short wait_for_executed_gtid_set
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Another answer at each call, so that a statement with them counts as a write; the session they
leave as it was."""

VOLATILE: Final = frozenset(
    """
    get_lock lambda_async lambda_sync last_insert_id nextval release_all_locks release_lock setval
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Known to write, or to change the session. ``LAST_INSERT_ID(expr)`` is one too; without an
argument it only reads."""

# Words that stand before a bracket and call nothing.
GRAMMAR: Final = frozenset(
    """
    action add after against all alter always analyze and any array as asc assign before between
    bigint binary bit blob both by case cascade change char character check collate column columns
    comment condition constraint cross cube current dec decimal delete desc distinct distinctrow
    double dual duplicate each else elseif end engine enum escape except exists fetch first float
    following for force foreign from full fulltext generated global group groups having hash
    ignore in index inner int integer intersect into is join json key keys lateral leading leave
    less like limit linear list local lock longblob longtext loop match materialized mediumblob
    mediumint mediumtext minus natural nchar nested next no not null numeric nvarchar of offset on
    only or order ordinality outer over overlaps partition partitions path preceding precision
    primary range real recursive references regexp return returning rlike rollup row
    rows select separator session set share signed smallint some sounds spatial sql_big_result
    sql_buffer_result sql_cache sql_calc_found_rows sql_no_cache sql_small_result stored
    straight_join subpartition system_time table temporary text than then to trailing unbounded
    union unique unknown unsigned update use using varbinary varchar varcharacter varying view
    virtual when where while window with within xor zerofill
    """.split()  # noqa: SIM905 - a list of words reads best as words
)

NO_TABLES: Final = frozenset(
    """
    accessible add all alter analyze and as asc before between both by call cascade case change
    check collate column condition constraint continue convert create cross current_date
    current_time current_timestamp current_user cursor database databases declare default delayed
    delete desc describe distinct distinctrow div drop dual each else elseif enclosed escaped exists
    exit explain false fetch for force foreign from fulltext grant group having high_priority if
    ignore in index infile inner inout insert interval into is iterate join key keys kill leading
    leave left like limit linear lines load localtime localtimestamp lock loop low_priority match
    mod natural not null on optimize option optionally or order out outer outfile partition primary
    procedure purge range read references regexp release rename repeat replace require restrict
    return revoke right rlike schema schemas select separator set show spatial sql starting
    straight_join table terminated then to trailing trigger true undo union unique unlock unsigned
    update usage use using values when where while with write xor zerofill
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Reserved words, which name a table, view or routine in backticks only."""
