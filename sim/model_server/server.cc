#include "sim/model_server/server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <map>
#include <optional>
#include <set>

namespace tranche::sim {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using ErrorOf = boost::system::error_code;
using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kMaxBody = uint64_t{4} << 20;
constexpr auto kReadTimeout = std::chrono::seconds(60);
constexpr auto kDrainTimeout = std::chrono::seconds(20);
constexpr auto kCheckInterval = std::chrono::milliseconds(500);

// Who is told of the tokens of one sequence.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // Returns false when it wants no more.
  virtual bool OnToken() = 0;
};

// Everything of the server that its sessions share. All of it runs on one thread, that of `io`.
class Engine {
 public:
  Engine(asio::io_context& io, const ServerOptions& given, Device* device)
      : options(given), device_(device), batcher_(given.pace, given.concurrency), timer_(io) {}

  uint64_t Submit(const CompletionAsk& ask, std::shared_ptr<TokenSink> sink) {
    const uint64_t number = batcher_.Add(ask.prompt_tokens, ask.max_tokens);
    sinks_[number] = std::move(sink);
    if (!stepping_) Step(SteadyClock::now());
    return number;
  }
  void Cancel(uint64_t number) {
    batcher_.Cancel(number);
    sinks_.erase(number);
  }
  int running() const { return batcher_.running(); }
  int waiting() const { return batcher_.waiting(); }

  const ServerOptions options;
  bool draining = false;
  uint64_t tokens = 0;    // generated, ever
  uint64_t requests = 0;  // for completions, ever

 private:
  void Step(SteadyClock::time_point from);
  void EndStep();
  void ShowLoad();

  Device* device_;
  Batcher batcher_;
  asio::steady_timer timer_;
  std::map<uint64_t, std::shared_ptr<TokenSink>> sinks_;
  bool stepping_ = false;
  int shown_ = 0;  // sequences that the device's load was set for
};

void Engine::Step(SteadyClock::time_point from) {
  const auto duration = batcher_.BeginStep();
  stepping_ = duration.has_value();
  ShowLoad();
  if (!stepping_) return;
  // From the end of the step before, not from now, so that what we need ourselves does not add up.
  timer_.expires_at(from + *duration);
  timer_.async_wait([this](const ErrorOf& error) {
    if (!error) EndStep();
  });
}

void Engine::EndStep() {
  const auto end = timer_.expiry();
  for (const Batcher::Token& token : batcher_.EndStep()) {
    const auto found = sinks_.find(token.sequence);
    if (found == sinks_.end()) continue;
    ++tokens;
    // Kept alive: it may cancel itself.
    const std::shared_ptr<TokenSink> sink = found->second;
    if (!sink->OnToken() || token.last) Cancel(token.sequence);
  }
  Step(end);
}

void Engine::ShowLoad() {
  const int running = batcher_.running();
  if (running == shown_) return;
  shown_ = running;
  // One sequence moves the weights as fast as they can be moved, and computes little with them.
  const double filled = static_cast<double>(running) / options.concurrency;
  device_->SetLoad(running == 0 ? 0 : 0.5 + 0.5 * filled, running == 0 ? 0 : 1);
}

// One connection.
class Session : public TokenSink, public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Engine& engine, std::set<Session*>& all)
      : stream_(std::move(socket)), engine_(engine), all_(all) {
    all_.insert(this);
  }
  ~Session() override { all_.erase(this); }

  void Start() { ReadRequest(); }
  // The server is about to end: a connection that waits for its next request has no reason to stay.
  void Drain() {
    if (!busy_) Close();
  }
  bool busy() const { return busy_; }

  bool OnToken() override;

 private:
  using Parser = http::request_parser<http::string_body>;

  void ReadRequest();
  void Misread(const ErrorOf& error);
  void Handle();
  void HandleCompletion(bool chat);
  void Answer(int status, std::string body, const char* type = "application/json");
  void AnswerError(const ApiError& error) { Answer(error.status, ErrorBody(error)); }
  void BeginStream();
  void Send(std::string text);
  void SendNext();
  void WatchForHangup();
  void Finished(bool keep_alive);
  void HangUp();
  void Close();
  std::string Metrics() const;

  beast::tcp_stream stream_;
  Engine& engine_;
  std::set<Session*>& all_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  http::response<http::string_body> response_;
  bool busy_ = false;  // from a request's first byte to its answer's last

  // Of the completion under way.
  Completion completion_;
  uint64_t sequence_ = 0;           // 0 = none
  std::deque<std::string> outbox_;  // of a stream; the first is being written
  bool chunked_ = false;
};

void Session::ReadRequest() {
  busy_ = false;
  if (engine_.draining) return Close();
  parser_.emplace();
  parser_->body_limit(kMaxBody);
  stream_.expires_after(kReadTimeout);
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](const ErrorOf& error, size_t) {
                            if (error) return self->Misread(error);
                            self->busy_ = true;
                            http::async_read(self->stream_, self->buffer_, *self->parser_,
                                             [self](const ErrorOf& failed, size_t) {
                                               if (failed) return self->Misread(failed);
                                               self->Handle();
                                             });
                          });
}

void Session::Misread(const ErrorOf& error) {
  const bool says_something =
      error.category() == http::make_error_code(http::error::end_of_stream).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message;
  // The client has gone, or was too slow.
  if (!says_something) return Close();
  parser_->get().keep_alive(false);
  if (error == http::error::body_limit) {
    return AnswerError({413, "invalid_request_error", "", "", "the body is larger than 4 MiB"});
  }
  AnswerError({400, "invalid_request_error", "", "", "this is not HTTP: " + error.message()});
}

void Session::Handle() {
  const auto& request = parser_->get();
  std::string path(request.target());
  path = path.substr(0, path.find('?'));
  const bool completions = path == "/v1/completions" || path == "/v1/chat/completions";
  const bool known = completions || path == "/health" || path == "/v1/models" ||
                     path == "/metrics" || path == "/v1/models/" + engine_.options.model.name;
  if (!known)
    return AnswerError({404, "not_found_error", "", "", fmt::format("there is no {} here", path)});
  const bool get = request.method() == http::verb::get || request.method() == http::verb::head;
  if (completions ? request.method() != http::verb::post : !get) {
    return AnswerError({405, "invalid_request_error", "", "",
                        fmt::format("{} wants {}", path, completions ? "POST" : "GET")});
  }
  if (completions) return HandleCompletion(path == "/v1/chat/completions");
  if (path == "/metrics") return Answer(200, Metrics(), "text/plain; version=0.0.4");
  if (path != "/health") return Answer(200, ModelsBody(engine_.options.model));
  if (engine_.draining) return Answer(503, R"({"status":"stopping"})");
  Answer(200, R"({"status":"ok"})");
}

void Session::HandleCompletion(bool chat) {
  auto ask = ParseCompletion(chat, parser_->get().body(), engine_.options.model);
  if (!ask) return AnswerError(ask.error());
  completion_ = {};
  completion_.ask = std::move(*ask);
  completion_.id = fmt::format("{}-{}", chat ? "chatcmpl" : "cmpl", ++engine_.requests);
  completion_.created = std::chrono::duration_cast<std::chrono::seconds>(
                            std::chrono::system_clock::now().time_since_epoch())
                            .count();
  // However long it takes.
  stream_.expires_never();
  if (completion_.ask.stream) BeginStream();
  sequence_ = engine_.Submit(completion_.ask, shared_from_this());
  WatchForHangup();
}

bool Session::OnToken() {
  const std::string& model = engine_.options.model.name;
  const std::string text = Grow(&completion_, model);
  const bool more = completion_.finish_reason.empty();
  if (!more) sequence_ = 0;
  if (completion_.ask.stream) {
    std::string events = text.empty() ? "" : StreamToken(completion_, model, text);
    if (!more) events += StreamEnd(completion_, model);
    if (!events.empty()) Send(std::move(events));
  } else if (!more) {
    Answer(200, CompletionBody(completion_, model));
  }
  return more;
}

void Session::Answer(int status, std::string body, const char* type) {
  const auto& request = parser_->get();
  response_ = {};
  response_.version(request.version());
  response_.result(static_cast<unsigned>(status));
  response_.set(http::field::content_type, type);
  if (status == 405)
    response_.set(http::field::allow, request.method() == http::verb::post ? "GET" : "POST");
  const bool keep = request.keep_alive() && !engine_.draining;
  response_.keep_alive(keep);
  response_.body() = std::move(body);
  response_.prepare_payload();
  if (request.method() == http::verb::head) response_.body().clear();
  busy_ = true;
  stream_.expires_after(kReadTimeout);
  http::async_write(stream_, response_,
                    [self = shared_from_this(), keep](const ErrorOf& error, size_t) {
                      if (error) return self->Close();
                      self->Finished(keep);
                    });
}

void Session::BeginStream() {
  // The only answer in chunks; its head is written by hand, as its body is.
  chunked_ = parser_->get().version() >= 11;
  std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n";
  head += chunked_ ? "Transfer-Encoding: chunked\r\n" : "Connection: close\r\n";
  if (chunked_ && !parser_->get().keep_alive()) head += "Connection: close\r\n";
  outbox_.push_back(head + "\r\n");
  SendNext();
  const std::string begin = StreamBegin(completion_, engine_.options.model.name);
  if (!begin.empty()) Send(begin);
}

void Session::Send(std::string text) {
  if (chunked_) text = fmt::format("{:x}\r\n{}\r\n", text.size(), text);
  if (chunked_ && !completion_.finish_reason.empty()) text += "0\r\n\r\n";
  outbox_.push_back(std::move(text));
  if (outbox_.size() == 1) SendNext();
}

void Session::SendNext() {
  asio::async_write(stream_, asio::buffer(outbox_.front()),
                    [self = shared_from_this()](const ErrorOf& error, size_t) {
                      if (error) return self->HangUp();
                      self->outbox_.pop_front();
                      if (!self->outbox_.empty()) return self->SendNext();
                      if (!self->completion_.finish_reason.empty()) {
                        self->Finished(self->chunked_ && self->parser_->get().keep_alive());
                      }
                    });
}

// While a client waits it has nothing to say: when its side becomes readable it has gone, or sends
// the next request early, which stays where it is.
void Session::WatchForHangup() {
  stream_.socket().async_wait(
      tcp::socket::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (error || self->sequence_ == 0) return;
        char byte;
        const ssize_t got =
            recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) self->HangUp();
      });
}

void Session::HangUp() {
  if (sequence_ != 0) engine_.Cancel(sequence_);
  sequence_ = 0;
  Close();
}

void Session::Finished(bool keep_alive) {
  ErrorOf ignored;
  stream_.socket().cancel(ignored);  // the watch
  if (keep_alive) return ReadRequest();
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  Close();
}

void Session::Close() {
  busy_ = false;
  ErrorOf ignored;
  stream_.socket().close(ignored);
}

std::string Session::Metrics() const {
  return fmt::format(
      "# TYPE tranche_model_server_tokens_total counter\ntranche_model_server_tokens_total {}\n"
      "# TYPE tranche_model_server_requests_total counter\ntranche_model_server_requests_total {}\n"
      "# TYPE tranche_model_server_running gauge\ntranche_model_server_running {}\n"
      "# TYPE tranche_model_server_waiting gauge\ntranche_model_server_waiting {}\n",
      engine_.tokens, engine_.requests, engine_.running(), engine_.waiting());
}

class Server {
 public:
  Server(const ServerOptions& options, Device* device)
      : acceptor_(io_),
        signals_(io_),
        watch_(io_),
        drain_(io_),
        device_(device),
        engine_(io_, options, device) {}

  Status Listen();
  Status Run();

 private:
  void Accept();
  void WaitForSignal();
  void Watch();
  void Drain();
  void EndWhenIdle();

  std::set<Session*> sessions_;  // first: sessions that io_ still holds leave it when io_ goes
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  asio::signal_set signals_;
  asio::steady_timer watch_, drain_;
  Device* device_;
  Engine engine_;
  Status result_;
};

Status Server::Listen() {
  const ServerOptions& options = engine_.options;
  ErrorOf error;
  const auto address = asio::ip::make_address(options.host, error);
  if (error) return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not an address", options.host));
  const tcp::endpoint where(address, static_cast<uint16_t>(options.port));
  acceptor_.open(where.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(where, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return Fail(ErrorCode::kFailed, fmt::format("cannot listen on {}:{}: {}", options.host,
                                                options.port, error.message()));
  }
  for (const int signal : {SIGTERM, SIGINT}) signals_.add(signal, error);
  return {};
}

Status Server::Run() {
  Accept();
  WaitForSignal();
  Watch();
  io_.run();
  device_->SetLoad(0, 0);
  return result_;
}

void Server::Accept() {
  acceptor_.async_accept([this](const ErrorOf& error, tcp::socket socket) {
    if (engine_.draining || error == asio::error::operation_aborted) return;
    if (!error) {
      ErrorOf ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Session>(std::move(socket), engine_, sessions_)->Start();
    }
    Accept();
  });
}

void Server::WaitForSignal() {
  signals_.async_wait([this](const ErrorOf& error, int) {
    if (error) return;
    // The second one is meant.
    if (engine_.draining) return io_.stop();
    Drain();
    WaitForSignal();
  });
}

void Server::Watch() {
  watch_.expires_after(kCheckInterval);
  watch_.async_wait([this](const ErrorOf& error) {
    if (error) return;
    if (auto well = device_->Check(); !well) {
      result_ = well;
      return io_.stop();
    }
    Watch();
  });
}

void Server::Drain() {
  engine_.draining = true;
  ErrorOf ignored;
  acceptor_.close(ignored);
  for (Session* session : std::vector<Session*>(sessions_.begin(), sessions_.end()))
    session->Drain();
  drain_.expires_after(kDrainTimeout);
  EndWhenIdle();
}

void Server::EndWhenIdle() {
  const bool busy = std::any_of(sessions_.begin(), sessions_.end(),
                                [](const Session* one) { return one->busy(); });
  if (!busy || SteadyClock::now() >= drain_.expiry()) return io_.stop();
  auto again = std::make_shared<asio::steady_timer>(io_, std::chrono::milliseconds(10));
  again->async_wait([this, again](const ErrorOf&) { EndWhenIdle(); });
}

}  // namespace

Status Serve(const ServerOptions& options, Device* device, const std::function<void()>& ready) {
  // Beast and Asio throw where they have no error code to return.
  try {
    Server server(options, device);
    if (auto listening = server.Listen(); !listening) return listening;
    ready();
    return server.Run();
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kFailed, error.what());
  }
}

}  // namespace tranche::sim
