// SPDX-License-Identifier: GPL-2.0
/*
 * Has the functions of kcov_dataflow_rust.rs with the same arguments, in C. Writing a number to the debugfs file
 * kcov_dataflow_c/call calls each function once.
 */
#include <linux/compiler.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/types.h>

struct pair {
	u32	first;
	u32	second;
};

struct triple {
	u64	first;
	u64	second;
	u64	third;
};

/* The functions are not static and hide their results. The Rust file gives the reasons. */
#define DEFINE(name, type, result, ...)			\
	type kdf_##name(__VA_ARGS__);			\
	noinline type kdf_##name(__VA_ARGS__)		\
	{						\
		type ret = (result);			\
							\
		OPTIMIZER_HIDE_VAR(ret);		\
		return ret;				\
	}

DEFINE(args1, u64, a, u8 a)
DEFINE(args2, u64, a + b, u8 a, u16 b)
DEFINE(args3, u64, (u64)a + b + c, u8 a, u16 b, u32 c)
DEFINE(args4, u64, a + b + c + d, u8 a, u16 b, u32 c, u64 d)
DEFINE(args5, u64, a + b + c + d + e, u8 a, u16 b, u32 c, u64 d, s8 e)
DEFINE(args6, u64, a + b + c + d + e + f, u8 a, u16 b, u32 c, u64 d, s8 e, s16 f)
DEFINE(args7, u64, a + b + c + d + e + f + g, u8 a, u16 b, u32 c, u64 d, s8 e, s16 f, s32 g)
DEFINE(args8, u64, a + b + c + d + e + f + g + h, u8 a, u16 b, u32 c, u64 d, s8 e, s16 f, s32 g, s64 h)
DEFINE(truth, u8, !yes, bool yes)
DEFINE(reference, u64, pair->first, const struct pair *pair)
DEFINE(exclusive, u64, ++pair->second, struct pair *pair)
DEFINE(optional, u64, pair ? pair->second : 0, const struct pair *pair)
DEFINE(slice, u64, (u64)numbers[0] + numbers[1] + numbers[length - 1], const u32 *numbers, size_t length)
DEFINE(small, u64, (u64)pair.first + pair.second, struct pair pair)
DEFINE(large, u64, triple.first + triple.second + triple.third, struct triple triple)
DEFINE(total, u64, ((u64)pair->first + pair->second) * factor, const struct pair *pair, u16 factor)
DEFINE(generic_u8, u64, value + 1ull, u8 value)
DEFINE(generic_u32, u64, value + 1ull, u32 value)

static void call_all(u64 n)
{
	struct pair pair = { .first = n, .second = n * 2 };
	struct triple triple = { .first = n, .second = n * 2, .third = n * 3 };
	u32 numbers[] = { n, n * 2, n * 3 };

	kdf_args1(n);
	kdf_args2(n, n * 2);
	kdf_args3(n, n * 2, n * 3);
	kdf_args4(n, n * 2, n * 3, n * 4);
	kdf_args5(n, n * 2, n * 3, n * 4, n * 5);
	kdf_args6(n, n * 2, n * 3, n * 4, n * 5, n * 6);
	kdf_args7(n, n * 2, n * 3, n * 4, n * 5, n * 6, n * 7);
	kdf_args8(n, n * 2, n * 3, n * 4, n * 5, n * 6, n * 7, n * 8);
	kdf_truth(n & 1);
	kdf_reference(&pair);
	kdf_exclusive(&pair);
	kdf_optional(&pair);
	kdf_optional(NULL);
	kdf_slice(numbers, ARRAY_SIZE(numbers));
	kdf_small(pair);
	kdf_large(triple);
	kdf_total(&pair, n * 2);
	kdf_generic_u8(n);
	kdf_generic_u32(n * 3);
}

static ssize_t call_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	u64 n;
	int ret = kstrtou64_from_user(buf, len, 0, &n);

	if (ret)
		return ret;
	call_all(n);
	return len;
}

static const struct file_operations call_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= call_write,
};

static struct dentry *dir;

static int __init sample_init(void)
{
	dir = debugfs_create_dir("kcov_dataflow_c", NULL);
	debugfs_create_file("call", 0200, dir, NULL, &call_fops);
	return PTR_ERR_OR_ZERO(dir);
}
module_init(sample_init);

static void __exit sample_exit(void)
{
	debugfs_remove(dir);
}
module_exit(sample_exit);

MODULE_DESCRIPTION("Functions with known arguments, in C");
MODULE_LICENSE("GPL");
