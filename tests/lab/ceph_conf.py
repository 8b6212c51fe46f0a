"""The configuration of the lab's Ceph: one copy of everything, and no waiting for others."""

ADMIN_KEYS = (
    "client.admin",
    "admin.keyring",
    "mon allow *",
    "osd allow *",
    "mds allow *",
    "mgr allow *",
)
DAEMON_KEYS = (
    ("mgr.x", "mgr/keyring", "mon allow profile mgr", "osd allow *", "mds allow *"),
    (
        "mds.a",
        "mds/keyring",
        "mon allow profile mds",
        "mgr allow profile mds",
        "mds allow *",
        "osd allow *",
    ),
    ("osd.0", "osd.0/keyring", "mon allow profile osd", "mgr allow profile osd", "osd allow *"),
)
"""Entity, where its keyring lies, capabilities. The monitor knows them from its birth."""

CONF = """\
[global]
fsid = {fsid}
mon_host = {mon_host}
mon_initial_members = a
public_addr = {address}
cluster_addr = {address}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
run_dir = {root}/run
admin_socket = {root}/run/$cluster-$name.$pid.$cctid.asok
log_file = {root}/log/$name.log
log_to_stderr = false
err_to_stderr = false
mon_cluster_log_file = {root}/log/cluster.log
keyring = {root}/admin.keyring
crash_dir = {root}/tmp
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_osd_down_out_interval = 3600
paxos_propose_interval = 0.05
[mon]
mon_data = {root}/mon
keyring = {root}/mon/keyring
[mgr]
mgr_data = {root}/mgr
keyring = {root}/mgr/keyring
mgr_initial_modules =
[osd]
osd_data = {root}/osd.$id
keyring = {root}/osd.$id/keyring
osd_objectstore = bluestore
bluestore_block_size = 8589934592
bluestore_block_create = true
bluestore_fsck_on_mount = false
osd_memory_target = 939524096
osd_op_queue = wpq
[mds]
mds_data = {root}/mds
keyring = {root}/mds/keyring
mds_cache_memory_limit = 268435456
"""
