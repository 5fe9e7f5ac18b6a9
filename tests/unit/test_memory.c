/* Giving back memory: what nobody needs leaves the process, and is still there when it is needed.
 */
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/memory.h"

struct segment {
	const volatile unsigned char *data;
	size_t pages;
};

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* The largest one that cannot be written, of all that is loaded. */
static int find_largest(struct dl_phdr_info *info, size_t size, void *userdata)
{
	struct segment *largest = userdata;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		size_t pages = p->p_filesz / page_bytes();

		if (p->p_type != PT_LOAD || p->p_flags & PF_W || pages <= largest->pages)
			continue;
		largest->data = (const unsigned char *)(info->dlpi_addr + p->p_vaddr);
		largest->pages = pages;
	}
	return 0;
}

/* Reads a byte of each page. */
static unsigned int sum_of(const struct segment *s)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < s->pages; i++)
		sum += s->data[i * page_bytes()];
	return sum;
}

static size_t present(const struct segment *s)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint64_t *entries = calloc(s->pages, sizeof(*entries));
	off_t at = (off_t)((uintptr_t)s->data / page_bytes() * sizeof(*entries));
	size_t n = 0;

	assert_true(fd >= 0);
	assert_non_null(entries);
	assert_int_equal(pread(fd, entries, s->pages * sizeof(*entries), at),
		(ssize_t)(s->pages * sizeof(*entries)));
	for (size_t i = 0; i < s->pages; i++)
		n += entries[i] >> 63;
	return n;
}

static void test_clean_pages(void **state)
{
	struct segment largest = {};
	unsigned int before;

	(void)state;
	dl_iterate_phdr(find_largest, &largest);
	assert_true(largest.pages > 64);
	before = sum_of(&largest);
	assert_int_equal(present(&largest), largest.pages);
	ig_memory_give_back();
	/* the kernel maps some around each that is needed */
	assert_true(present(&largest) < largest.pages / 2);
	assert_int_equal(sum_of(&largest), before);
}

/* Written before they were made read-only: those must not be as in the file. */
static void test_relocated_pages(void **state)
{
	static int (*const relocated[])(int) = {abs};

	(void)state;
	ig_memory_give_back();
	assert_int_equal(((int (*const volatile *)(int))relocated)[0](-17), 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_pages),
		cmocka_unit_test(test_relocated_pages),
	};

	return cmocka_run_group_tests_name("base/memory", tests, NULL, NULL);
}
