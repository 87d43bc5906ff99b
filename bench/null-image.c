/*
 * A null image: one file, `image`, whose bytes are memory. It does what every FUSE daemon has to do and nothing else, so it is the ceiling of what the
 * /dev/fuse interface gives a program in C with libfuse 3, and the measure that the benchmark compares with.
 *
 *     null-image MOUNTPOINT BYTES THREADS READ_DELAY_US [BACKGROUND]
 *
 * THREADS 1 runs libfuse's single-threaded loop; more run its multithreaded one with a descriptor for each thread. With READ_DELAY_US
 * every read takes that long, as on a slow device: the benchmark's backing device for misses. BACKGROUND is how many asynchronous requests the kernel
 * hands out at a time, 256 unless told otherwise; with 0 libfuse's default is left, which leaves the kernel's, 12. Ends when it is unmounted.
 *
 * Invariants: sizes and offsets that the kernel sends are within the file, since its size never changes and is known to the kernel; memory that was
 * never written reads as zeros and costs nothing.
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define IMAGE_INODE 2
#define VALID_SECONDS 3600.0
#define REQUEST_BYTES_MAX (1u << 20)

/* From the kernel's FUSE protocol; this libfuse may be older than the second flag, so the answer to OPEN is put together here. */
#define OPEN_DIRECT_IO (1u << 0)
#define OPEN_PARALLEL_DIRECT_WRITES (1u << 6)
struct open_answer {
	uint64_t handle;
	uint32_t flags;
	int32_t reserved;
};

static char *image;
static size_t image_bytes;
static long read_delay_us;
static unsigned int background_max = 256;

static void attributes_of(fuse_ino_t inode, struct stat *attributes)
{
	memset(attributes, 0, sizeof(*attributes));
	attributes->st_ino = inode;
	attributes->st_uid = getuid();
	attributes->st_gid = getgid();
	if (inode == FUSE_ROOT_ID) {
		attributes->st_mode = S_IFDIR | 0755;
		attributes->st_nlink = 2;
		return;
	}
	attributes->st_mode = S_IFREG | 0600;
	attributes->st_nlink = 1;
	attributes->st_size = (off_t)image_bytes;
	attributes->st_blocks = (blkcnt_t)(image_bytes / 512);
	attributes->st_blksize = 4096;
}

static void on_init(void *user, struct fuse_conn_info *connection)
{
	(void)user;
	connection->max_write = REQUEST_BYTES_MAX;
	if (background_max > 0) {
		connection->max_background = background_max;
		connection->congestion_threshold = background_max * 3 / 4;
	}
	connection->want |= connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;

	if (parent != FUSE_ROOT_ID || strcmp(name, "image") != 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	memset(&entry, 0, sizeof(entry));
	entry.ino = IMAGE_INODE;
	entry.attr_timeout = VALID_SECONDS;
	entry.entry_timeout = VALID_SECONDS;
	attributes_of(IMAGE_INODE, &entry.attr);
	fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
	struct stat attributes;

	(void)file;
	attributes_of(inode, &attributes);
	fuse_reply_attr(request, &attributes, VALID_SECONDS);
}

/* fio sets times and sizes it has; nothing changes. */
static void on_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int which, struct fuse_file_info *file)
{
	(void)wanted;
	(void)which;
	on_getattr(request, inode, file);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
	const struct open_answer answer = { 1, OPEN_DIRECT_IO | OPEN_PARALLEL_DIRECT_WRITES, 0 };

	(void)inode;
	(void)file;
	fuse_reply_buf(request, (const char *)&answer, sizeof(answer));
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t bytes, off_t offset, struct fuse_file_info *file)
{
	(void)inode;
	(void)file;
	if (read_delay_us > 0) {
		const struct timespec delay = { read_delay_us / 1000000, read_delay_us % 1000000 * 1000 };

		nanosleep(&delay, NULL);
	}
	if ((size_t)offset >= image_bytes)
		bytes = 0;
	else if (bytes > image_bytes - (size_t)offset)
		bytes = image_bytes - (size_t)offset;
	fuse_reply_buf(request, image + offset, bytes);
}

static void on_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t bytes, off_t offset, struct fuse_file_info *file)
{
	(void)inode;
	(void)file;
	if ((size_t)offset >= image_bytes || bytes > image_bytes - (size_t)offset) {
		fuse_reply_err(request, ENOSPC);
		return;
	}
	memcpy(image + offset, data, bytes);
	fuse_reply_write(request, bytes);
}

static void on_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file)
{
	(void)inode;
	(void)data_only;
	(void)file;
	fuse_reply_err(request, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
};

static int serve(struct fuse_session *session, unsigned int threads)
{
	struct fuse_loop_config *config;
	int result;

	if (threads <= 1)
		return fuse_session_loop(session);
	config = fuse_loop_cfg_create();
	if (config == NULL)
		return 1;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads);
	result = fuse_session_loop_mt(session, config);
	fuse_loop_cfg_destroy(config);
	return result;
}

int main(int count, char **values)
{
	char *names[] = { values[0], "-o", "fsname=null-image", NULL };
	struct fuse_args arguments = FUSE_ARGS_INIT(3, names);
	struct fuse_session *session;
	int result = 1;

	if (count != 5 && count != 6) {
		fprintf(stderr, "usage: null-image MOUNTPOINT BYTES THREADS READ_DELAY_US [BACKGROUND]\n");
		return 2;
	}
	image_bytes = strtoull(values[2], NULL, 10);
	read_delay_us = strtol(values[4], NULL, 10);
	if (count == 6)
		background_max = (unsigned int)strtoul(values[5], NULL, 10);
	image = mmap(NULL, image_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (image == MAP_FAILED) {
		perror("null-image: memory");
		return 1;
	}
	session = fuse_session_new(&arguments, &operations, sizeof(operations), NULL);
	if (session == NULL)
		return 1;
	if (fuse_session_mount(session, values[1]) == 0) {
		result = serve(session, (unsigned int)strtoul(values[3], NULL, 10));
		fuse_session_unmount(session);
	}
	fuse_session_destroy(session);
	return result == 0 ? 0 : 1;
}
