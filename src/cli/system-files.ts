// The files through which the system finds this program: the unit of systemd, and what mount(8) and umount(8) run for the type fuse.pcache. Each names Node
// and the program by their absolute paths, for the system starts them with another PATH than a user has.

/** Where a package puts the command; `pcache config install` puts in what it was started as. */
export const PROGRAM_DEFAULT: ProgramPaths = { node: undefined, pcache: '/usr/bin/pcache' };

export interface ProgramPaths {
  /** Undefined: the command finds it. */
  readonly node: string | undefined;
  readonly pcache: string;
}

export interface SystemFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

export const UNIT_PATH = '/etc/systemd/system/pcache@.service';
export const MOUNT_HELPER_PATH = '/sbin/mount.fuse.pcache';
export const UMOUNT_HELPER_PATH = '/sbin/umount.fuse.pcache';

export function systemFiles(program: ProgramPaths): SystemFile[] {
  return [
    { path: UNIT_PATH, text: unitText(program), mode: 0o644 },
    { path: MOUNT_HELPER_PATH, text: helperText(program, 'mount'), mode: 0o755 },
    { path: UMOUNT_HELPER_PATH, text: helperText(program, 'umount'), mode: 0o755 },
  ];
}

export function unitText({ node, pcache }: ProgramPaths): string {
  const command = [node, pcache].flatMap((path) => (path === undefined ? [] : [unitWord(path)])).join(' ');
  return `# A cached volume as a service: pcache@NAME.service serves what /etc/pcache/NAME.yaml describes.
#   pcache config init NAME CACHE BACKING MOUNTPOINT && systemctl enable --now pcache@NAME
# What belongs to one volume only goes into a drop-in (systemctl edit pcache@NAME), such as the devices it needs and who needs it:
#   [Unit]
#   RequiresMountsFor=/fast
#   BindsTo=dev-sdb.device
#   After=dev-sdb.device
#   Before=libvirtd.service

[Unit]
Description=pcache volume %i
Documentation=man:pcache(1)
# Started after, and so stopped before, everything that a cache or a backing device may need.
After=local-fs.target remote-fs-pre.target network-online.target iscsid.service nbd.service blk-availability.service
Wants=network-online.target
# The file systems of a volume (with x-systemd.requires=pcache@NAME.service in /etc/fstab) count as remote: they are there when this target is.
Before=remote-fs.target
ConditionPathExistsGlob=/etc/pcache/%i.*
# What fails ten times in a row is given up: a loop of restarts helps nobody.
StartLimitIntervalSec=10min
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart=${command} mount --foreground %i
# A large log is replayed first.
TimeoutStartSec=15min
# A stop unmounts when nobody uses the volume any more: until then it is served, and systemctl status says who uses it. A flush at the end
# (option flush_on_stop) asks for more time as long as it gets on.
TimeoutStopSec=5min
KillMode=mixed
# Users of a volume that is not free in time keep it: to kill its server would only fail them. When the machine goes down, all are gone by then.
SendSIGKILL=no
# An engine that hangs is replaced after half of this time, without its users seeing it. This is for what hangs beyond that.
WatchdogSec=2min
# The program starts its engine again by itself. Where it gives up, a new one may do better; not about a configuration that is wrong (status 2).
Restart=on-failure
RestartSec=5s
RestartPreventExitStatus=2
SyslogIdentifier=pcache
RuntimeDirectory=pcache
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ConfigurationDirectory=pcache
# Users of the volume may need memory that only this can give back, see docs/operations.md.
OOMScoreAdjust=-900
LimitNOFILE=65536

# Hardening. Nothing here may give the service mounts of its own (ProtectSystem, PrivateTmp, PrivateDevices and their like do): the volume must be seen
# by all.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_SYS_PTRACE CAP_IPC_LOCK CAP_SYS_NICE
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=multi-user.target
`;
}

function helperText({ node, pcache }: ProgramPaths, command: 'mount' | 'umount'): string {
  const words = [node, pcache].flatMap((path) => (path === undefined ? [] : [shellWord(path)])).join(' ');
  return `#!/bin/sh
# What ${command}(8) runs for the type fuse.pcache. Status as ${command}(8) has it: 1 wrong usage, 32 failed.
${words} ${command}-helper "$@"
case $? in
  0) exit 0 ;;
  2) exit 1 ;;
  *) exit 32 ;;
esac
`;
}

function shellWord(path: string): string {
  return /^[\w./+-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

/** A word of ExecStart: quoted if need be, specifiers and variables undone. */
function unitWord(path: string): string {
  const text = path.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w./+%$-]+$/.test(text) ? text : `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
