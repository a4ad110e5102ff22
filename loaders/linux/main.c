// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Plinth's Linux module: /dev/plinth, by which a program launches the hypervisor below the running Linux and stops it.
 *
 * The module knows no file format and decides nothing; plinth.h is its interface.
 */
#define pr_fmt(format) "plinth: " format

#include <linux/capability.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/uaccess.h>

#include "module.h"
#include "request.h"

struct plinth plinth = { .lock = __MUTEX_INITIALIZER(plinth.lock) };

static vm_fault_t plinth_fault(struct vm_fault *fault)
{
	bool write = fault->flags & FAULT_FLAG_WRITE;

	mutex_lock(&plinth.lock);
	fault->page = plinth_page(fault->vma->vm_file, (u64)fault->pgoff << PAGE_SHIFT, write);
	mutex_unlock(&plinth.lock);
	return fault->page ? 0 : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct plinth_vm_operations = { .fault = plinth_fault };

static int plinth_mmap(struct file *file, struct vm_area_struct *vma)
{
	bool is_log = vma->vm_pgoff >= PHYS_PFN(PLINTH_MAP_LOG);

	if (!capable(CAP_SYS_ADMIN) || (is_log && (vma->vm_flags & VM_WRITE)))
		return -EPERM;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	vma->vm_ops = &plinth_vm_operations;
	return 0;
}

/* A hypercall, with a page between the hypervisor and the caller's buffer. */
static int call_with_page(struct plinth_call *call)
{
	void *page = call->buffer_argument ? (void *)get_zeroed_page(GFP_KERNEL) : NULL;
	int error;

	if (call->buffer_argument && !page)
		return -ENOMEM;
	mutex_lock(&plinth.lock);
	error = plinth_call(call, page ? virt_to_phys(page) : 0);
	mutex_unlock(&plinth.lock);
	if (!error && copy_to_user(u64_to_user_ptr(call->buffer), page, call->buffer_size))
		error = -EFAULT;
	free_page((unsigned long)page);
	return error;
}

static int serve(struct file *file, unsigned int number, union plinth_request *request)
{
	int error = 0;

	if (number == PLINTH_IOC_CALL)
		return call_with_page(&request->call);
	mutex_lock(&plinth.lock);
	switch (number) {
	case PLINTH_IOC_INFO:
		plinth_info(&request->info);
		break;
	case PLINTH_IOC_RESERVE:
		error = plinth_reserve(file, &request->reserve);
		break;
	case PLINTH_IOC_LAUNCH:
		error = plinth_launch(file, &request->launch);
		break;
	case PLINTH_IOC_STOP:
		error = plinth_stop(PLINTH_STOPPED_BY_REQUEST, &request->stop);
		break;
	}
	mutex_unlock(&plinth.lock);
	return error;
}

static int may_ask(unsigned int number)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	return number == PLINTH_IOC_INFO ? 0 : security_locked_down(LOCKDOWN_DEV_MEM);
}

static long plinth_ioctl(struct file *file, unsigned int number, unsigned long argument)
{
	void __user *user = (void __user *)argument;
	__u32 size = plinth_request_size(number);
	union plinth_request request = {};
	int error = may_ask(number);

	if (error)
		return error;
	if (!size)
		return -ENOTTY;
	if (copy_from_user(&request, user, size))
		return -EFAULT;
	error = plinth_check(number, &request);
	if (error)
		return error;
	error = serve(file, number, &request);
	if (error == -EINVAL || error == -EFAULT)
		return error;
	return copy_to_user(user, &request, size) ? -EFAULT : error;
}

static int plinth_release(struct inode *inode, struct file *file)
{
	mutex_lock(&plinth.lock);
	if (plinth.state == PLINTH_RESERVED && plinth.owner == file)
		plinth_free_memory();
	mutex_unlock(&plinth.lock);
	return 0;
}

static const struct file_operations plinth_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = plinth_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = plinth_mmap,
	.release = plinth_release,
};

static struct miscdevice plinth_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "plinth",
	.mode = 0600,
	.fops = &plinth_operations,
};

void plinth_tell(const char *what)
{
	char *environment[] = { (char *)what, NULL };

	kobject_uevent_env(&plinth_device.this_device->kobj, KOBJ_CHANGE, environment);
}

static int __init plinth_init(void)
{
	int error = plinth_watch_power();

	if (error)
		return error;
	error = misc_register(&plinth_device);
	if (error)
		plinth_unwatch_power();
	return error;
}

/* Stops the hypervisor. Where that fails its memory stays its own, and nothing of this module's is in it. */
static void __exit plinth_exit(void)
{
	struct plinth_stop stop = {};

	mutex_lock(&plinth.lock);
	if (plinth.state == PLINTH_RUNNING && plinth_stop(PLINTH_STOPPED_BY_REQUEST, &stop))
		pr_err("the hypervisor does not stop (%#llx); its memory is lost until the next boot\n", stop.status);
	plinth_machine_release();
	mutex_unlock(&plinth.lock);
	misc_deregister(&plinth_device);
	plinth_unwatch_power();
	plinth_free_log();
}

module_init(plinth_init);
module_exit(plinth_exit);
MODULE_DESCRIPTION("Launches the Plinth hypervisor below the running Linux");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION("0.1.0");
