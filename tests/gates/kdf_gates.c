// SPDX-License-Identifier: GPL-2.0
/* A module that is loaded while somebody records: writing a number to kdf_gates/call calls a function with it. */
#include <linux/compiler.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kstrtox.h>
#include <linux/module.h>

u64 kdf_gates_called(u64 number, u32 half);

noinline u64 kdf_gates_called(u64 number, u32 half)
{
	u64 ret = number ^ half;

	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static ssize_t call_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	u64 n;
	int ret = kstrtou64_from_user(buf, len, 0, &n);

	if (ret)
		return ret;
	kdf_gates_called(n, n >> 32);
	return len;
}

static const struct file_operations call_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= call_write,
};

static struct dentry *dir;

static int __init gates_init(void)
{
	dir = debugfs_create_dir("kdf_gates", NULL);
	debugfs_create_file("call", 0200, dir, NULL, &call_fops);
	return PTR_ERR_OR_ZERO(dir);
}
module_init(gates_init);

static void __exit gates_exit(void)
{
	debugfs_remove(dir);
}
module_exit(gates_exit);

MODULE_DESCRIPTION("A function that is called while somebody records");
MODULE_LICENSE("GPL");
