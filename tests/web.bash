# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A web server with real PHP in the box, from the distribution's packages but with configurations
# of our own: over helpers.bash. Apache listens on 127.0.0.1:80 of the box's own network.
#
#	shop.test, blog.test	mod_php: both run as WEB_UID
#	gold.test, silver.test	php-fpm: a pool each, as GOLD_UID and SILVER_UID
#	old.test		php-cgi by Action, as WEB_UID
#
# Site NAME is the folder $LAB/www/NAME, its pages are below public/. In public/deep/down each has
# fsock.php and mailer.php, which send a message to $WORLD, "sent" or what went wrong.

WEB_UID=$(id -u www-data 2>/dev/null || id -u apache) GOLD_UID=21002 SILVER_UID=21003
WEB_SITES=(shop blog gold silver old)
export WEB_UID GOLD_UID SILVER_UID

web_up() { web_sites && web_fpm && web_apache; }

# ---- the pages ----

web_sites() {
	local site
	for site in "${WEB_SITES[@]}"; do
		mkdir -p "$(web_folder "$site")" && web_scripts "$(web_folder "$site")" || return
	done
}

web_folder() { echo "$LAB/www/$1/public/deep/down"; }

# web_scripts FOLDER: while FOLDER/hold exists, they wait before they hang up
web_scripts() {
	cat >"$1/fsock.php" <<-'END'
		<?php
		$line = fsockopen(getenv('MX') ?: '198.51.100.2', 25, $errno, $error, 5);
		if (!$line)
			die("not sent: $error\n");
		fgets($line);
		foreach (['HELO fsock.example', 'MAIL FROM:<fsock@example.org>',
			  'RCPT TO:<rcpt@world.example>', 'DATA', "Subject: one\r\n\r\none\r\n."] as $said) {
			fwrite($line, "$said\r\n");
			$answer = fgets($line);
			if ($answer === false || $answer[0] > '3')
				die("not sent: $answer\n");
		}
		for ($i = 0; $i < 100 && file_exists(__DIR__ . '/hold'); $i++) {
			usleep(100000);
			clearstatcache();
		}
		fwrite($line, "QUIT\r\n");
		echo "sent\n";
	END
	cat >"$1/mailer.php" <<-'END'
		<?php
		require __DIR__ . '/lib/class.smtp.php';
		$smtp = new SMTP();
		try {
			$smtp->connect('198.51.100.2', 25);
			$smtp->hello('mailer.example');
			$smtp->mail('mailer@example.org');
			$smtp->recipient('rcpt@world.example');
			$smtp->data("Subject: two\r\n\r\ntwo");
			$smtp->quit();
			echo "sent\n";
		} catch (Exception $e) {
			echo 'not sent: ', $e->getMessage(), "\n";
		}
	END
	mkdir -p "$1/lib" && cat >"$1/lib/class.smtp.php" <<-'END'
		<?php
		class SMTP {
			private $socket;
			function connect($host, $port) {
				$this->socket = @stream_socket_client("tcp://$host:$port", $errno, $error, 5);
				if (!$this->socket)
					throw new Exception($error);
				$this->answer(220);
			}
			private function answer($wanted) {
				do
					$line = fgets($this->socket, 515);
				while ($line !== false && substr($line, 3, 1) == '-');
				if ((int)$line != $wanted)
					throw new Exception(trim($line));
			}
			private function say($line, $wanted) {
				fwrite($this->socket, "$line\r\n");
				$this->answer($wanted);
			}
			function hello($name) { $this->say("EHLO $name", 250); }
			function mail($from) { $this->say("MAIL FROM:<$from>", 250); }
			function recipient($to) { $this->say("RCPT TO:<$to>", 250); }
			function data($text) { $this->say('DATA', 354); $this->say("$text\r\n.", 250); }
			function quit() { $this->say('QUIT', 221); }
		}
	END
}

# ---- php-fpm ----

fpm_program() { compgen -c php-fpm | sort -u | head -n 1; }

web_fpm() {
	mkdir -p "$LAB/web" || return
	cat >"$LAB/web/fpm.conf" <<-END
		[global]
		error_log = $LAB/web/fpm.log
		daemonize = no
	END
	web_pool gold $GOLD_UID && web_pool silver $SILVER_UID
	lab_start fpm.out "$LAB_BOX" "$LAB_CGROUP" "$(PATH=$PATH:/usr/sbin fpm_program)" -n \
		-p "$LAB/web" -y "$LAB/web/fpm.conf"
	disown $!
	eventually test -S "$LAB/web/gold.sock" && eventually test -S "$LAB/web/silver.sock"
}

web_pool() { # NAME UID
	cat >>"$LAB/web/fpm.conf" <<-END
		[$1]
		user = $2
		group = $2
		listen = $LAB/web/$1.sock
		listen.mode = 0666
		pm = static
		pm.max_children = 1
	END
}

# ---- Apache ----

web_apache() {
	local program=apache2 modules=/usr/lib/apache2/modules site
	command -v apache2 >/dev/null || { program=httpd && modules=/usr/lib64/httpd/modules; }
	{
		web_modules "$modules"
		cat <<-END
			ServerRoot $LAB/web
			TypesConfig /dev/null
			ServerName box.example
			PidFile $LAB/web/apache.pid
			ErrorLog $LAB/web/apache.log
			Mutex file:$LAB/web default
			Listen 127.0.0.1:80
			User #$WEB_UID
			Group #$WEB_UID
			StartServers 2
			MinSpareServers 1
			MaxSpareServers 2
			<Directory />
				Require all granted
			</Directory>
		END
		for site in shop blog; do web_host $site 'SetHandler application/x-httpd-php'; done
		for site in gold silver; do
			web_host $site "SetHandler \"proxy:unix:$LAB/web/$site.sock|fcgi://$site\""
		done
		web_host old 'SetHandler php-cgi' "ScriptAlias /php-cgi $(command -v php-cgi)" \
			'Action php-cgi /php-cgi'
	} >"$LAB/web/apache.conf"
	lab_start apache.out "$LAB_BOX" "$LAB_CGROUP" "$program" -f "$LAB/web/apache.conf" -DFOREGROUND
	disown $!
	eventually listening "$LAB_BOX" 'src 127.0.0.1 and sport = :80'
}

# What is built in cannot be loaded.
web_modules() {
	local module php
	for module in mpm_prefork unixd authz_core mime alias actions cgi proxy proxy_fcgi; do
		[ ! -e "$1/mod_$module.so" ] || echo "LoadModule ${module}_module $1/mod_$module.so"
	done
	php=$(find "$1" -name 'libphp*.so' | head -n 1)
	echo "LoadModule php_module $php"
	echo "PHPIniDir $LAB/web"
}

web_host() { # SITE HANDLER LINE…
	cat <<-END
		<VirtualHost 127.0.0.1:80>
			ServerName $1.test
			DocumentRoot $LAB/www/$1/public
			<FilesMatch "\.php$">
				$2
			</FilesMatch>
			$(printf '%s\n' "${@:3}")
		</VirtualHost>
	END
}

# get SITE PAGE: what a visitor sees
get() { in_box curl -sS --max-time 30 -H "Host: $1.test" "http://127.0.0.1/$2"; }
